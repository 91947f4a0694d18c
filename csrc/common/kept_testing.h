// For test programs: holds the CPU and CUDA functions of an op that sums what it keeps against its reference, bit for
// bit; and its outputs against those of the plain op.
#pragma once

#include "common/kept_op.h"
#include "common/testing_device.h"
#include "common/testing_numbers.h"

namespace xai::testing {

struct KeptFunctions {
    const char* name;
    const ElementwiseOp& about;
    int (*plain)(const xai_elementwise*);
    int (*ref)(const xai_kept*);
    int (*cpu)(const xai_kept*, int);
    int (*cuda)(const xai_kept*, int, void*);
};

// A call with memory of its own. `extreme` numbers mostly sum to NaN, ordinary ones show the order of sums.
template <typename Bits>
class KeptCase {
public:
    KeptCase(const KeptFunctions& op, int dtype, std::size_t images, std::size_t each, std::size_t repeats, bool extreme,
             std::mt19937_64& random)
        : op_(op),
          call_{{dtype, static_cast<std::int64_t>(images * each), static_cast<std::int64_t>(repeats), {}, {}, {}},
                static_cast<std::int64_t>(images),
                nullptr,
                nullptr} {
        const std::size_t n = images * each;
        for (int i = 0; i < op.about.input_count; ++i) {
            inputs_.emplace_back(op.about.inputs[i].repeated ? n * repeats : n, random() % 17);
            extreme ? fill(inputs_.back(), random) : fill_ordinary(inputs_.back(), random);
        }
        for (int i = 0; i < op.about.output_count; ++i) {
            expected_.emplace_back(n * repeats, std::size_t{0});
            outputs_.emplace_back(n * repeats, random() % 17);
        }
        expected_kept_.emplace_back(images * repeats, std::size_t{0});
        kept_.emplace_back(images * repeats, random() % 5);
        const std::int64_t chunks = xai_kept_chunks(call_.shares.n, call_.images);
        chunk_sums_.emplace_back(repeats * static_cast<std::size_t>(chunks), random() % 5);
        for (int i = 0; i < op.about.parameter_count; ++i) {
            const double values[] = {0.1, 1e-6, 0.25, 2.0, 1e-45, 3e38};
            call_.shares.parameters[i] = values[random() % (extreme ? 6 : 4)];
        }
    }

    void run(bool with_cuda) {
        check(op_.plain(&with(outputs_, kept_).shares) == XAI_OK, name("the plain op"));
        check(op_.ref(&with(expected_, expected_kept_)) == XAI_OK, name("reference"));
        for (std::size_t i = 0; i < outputs_.size(); ++i) {
            check_same_bits(outputs_[i], expected_[i], name("the plain op"));
        }
        on_every_cpu([&](int threads, const std::string& by) {
            compare(op_.cpu(&with(outputs_, kept_), threads), by);
            xai_kept& call = with(outputs_, kept_);  // the first output takes the place of the relevance
            std::copy_n(inputs_[0].data(), outputs_[0].size(), outputs_[0].data());
            call.shares.inputs[0] = outputs_[0].data();
            compare(op_.cpu(&call, threads), by + ", in place");
        });
#if XAIPIPE_HAS_CUDA
        if (with_cuda) {
            run_cuda(0);
            run_cuda(8);
        }
#else
        static_cast<void>(with_cuda);
#endif
    }

private:
    using Numbers = std::vector<Array<std::uint64_t>>;

    xai_kept& with(std::vector<Array<Bits>>& outputs, Numbers& kept) {
        for (std::size_t i = 0; i < inputs_.size(); ++i) {
            call_.shares.inputs[i] = inputs_[i].data();
        }
        for (std::size_t i = 0; i < outputs.size(); ++i) {
            call_.shares.outputs[i] = outputs[i].data();
        }
        call_.kept = reinterpret_cast<double*>(kept[0].data());
        call_.chunk_sums = reinterpret_cast<double*>(chunk_sums_[0].data());
        return call_;
    }

#if XAIPIPE_HAS_CUDA
    void run_cuda(std::size_t offset) {
        DeviceArrays shares(offset), kept(offset), chunk_sums(offset);
        xai_kept call = call_;
        for (std::size_t i = 0; i < inputs_.size(); ++i) {
            call.shares.inputs[i] = shares.copy_of(inputs_[i]);
        }
        for (std::size_t i = 0; i < outputs_.size(); ++i) {
            call.shares.outputs[i] = shares.copy_of(outputs_[i]);
        }
        call.kept = static_cast<double*>(kept.copy_of(kept_[0]));
        call.chunk_sums = static_cast<double*>(chunk_sums.copy_of(chunk_sums_[0]));
        const int status = op_.cuda(&call, 0, nullptr);
        shares.copy_back(outputs_);
        kept.copy_back(kept_);
        compare(status, "CUDA");
    }
#endif

    std::string name(const std::string& by) const {
        const xai_elementwise& shares = call_.shares;
        std::string text = std::string(op_.name) + "_and_kept: " + by + ", dtype " + std::to_string(shares.dtype) +
                           ", n " + std::to_string(shares.n) + " × " + std::to_string(shares.repeats) + ", images " +
                           std::to_string(call_.images) + ", parameters";
        for (int i = 0; i < op_.about.parameter_count; ++i) {
            text += " " + std::to_string(shares.parameters[i]);
        }
        return text;
    }

    void compare(int status, const std::string& by) {
        check(status == XAI_OK, name(by) + ": " + xai_last_error());
        for (std::size_t i = 0; i < outputs_.size(); ++i) {
            check_same_bits(outputs_[i], expected_[i], name(by) + ", " + op_.about.outputs[i]);
        }
        check_same_bits(kept_[0], expected_kept_[0], name(by) + ", kept");
        check(chunk_sums_[0].intact(), name(by) + ": wrote outside the workspace");
    }

    const KeptFunctions& op_;
    xai_kept call_;
    std::vector<Array<Bits>> inputs_, expected_, outputs_;
    Numbers expected_kept_, kept_, chunk_sums_;
};

template <typename Bits>
void fuzz_kept(const KeptFunctions& op, int dtype, bool with_cuda, std::mt19937_64& random) {
    for (int i = 0; i < 60; ++i) {
        const std::size_t images = 1 + random() % 4, repeats = random() % 2 != 0 ? 1 : 1 + random() % 4;
        const std::size_t each = random_size(random, 1500);
        KeptCase<Bits>(op, dtype, images, each, repeats, random() % 4 == 0, random).run(with_cuda);
    }
    // Several chunks, whole ones and not, for several threads; and many images.
    KeptCase<Bits>(op, dtype, 1, 3 * XAI_KEPT_CHUNK, 2, false, random).run(with_cuda);
    KeptCase<Bits>(op, dtype, 2, 2 * XAI_KEPT_CHUNK + 1, 1, false, random).run(with_cuda);
    KeptCase<Bits>(op, dtype, 1, 5 * XAI_KEPT_CHUNK - 300, 1, false, random).run(with_cuda);
    KeptCase<Bits>(op, dtype, 7000, 11, 1, false, random).run(with_cuda);
}

inline void fuzz_kept(const KeptFunctions& op, bool with_cuda, std::mt19937_64& random) {
    fuzz_kept<std::uint32_t>(op, XAI_F32, with_cuda, random);
    fuzz_kept<std::uint64_t>(op, XAI_F64, with_cuda, random);
    fuzz_kept<std::uint16_t>(op, XAI_BF16, with_cuda, random);
}

// Those of the plain op are tested with it; that they are looked at is tested here.
inline void refuses_broken_preconditions(const KeptFunctions& op) {
    alignas(8) char bytes[64] = {};
    double kept[2], chunk_sums[2];
    const xai_kept good{{XAI_F32, 2, 1, {bytes, bytes, bytes}, {bytes + 16, bytes + 32}, {}}, 2, kept, chunk_sums};
    check(op.cpu(&good, 1) == XAI_OK, std::string(op.name) + "_and_kept: a good call");
    const auto broken = [&](const std::string& words, const auto& change) {
        xai_kept call = good;
        change(call);
        refuses(op.cpu(&call, 1), words);
        refuses(op.ref(&call), words);
    };
    broken("dtype: got code 9", [](auto& call) { call.shares.dtype = 9; });
    broken("images: got 0, expected 1 or more", [](auto& call) { call.images = 0; });
    broken("images: got 3 for 2 elements", [](auto& call) { call.images = 3; });
    broken("more elements than memory", [](auto& call) {
        call.shares.n = 0;
        call.shares.repeats = call.images = std::int64_t{1} << 40;
    });
    broken("kept: got a null pointer, expected 2", [](auto& call) { call.kept = nullptr; });
    broken("chunk_sums: got a null pointer, expected 2", [](auto& call) { call.chunk_sums = nullptr; });
    broken("aligned to its element of 8", [&](auto& call) { call.kept = reinterpret_cast<double*>(bytes + 4); });
    refuses(op.cpu(&good, 0), "num_threads: got 0");
    xai_kept empty{{XAI_F32, 0, 1, {}, {}, {}}, 2, kept, nullptr};
    kept[0] = kept[1] = 1;
    check(op.cpu(&empty, 1) == XAI_OK && kept[0] == 0 && kept[1] == 0, std::string(op.name) + ": nothing keeps nothing");
}

}  // namespace xai::testing
