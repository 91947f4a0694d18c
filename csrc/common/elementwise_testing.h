// For test programs: holds an elementwise op's CPU and CUDA functions against its reference, bit for bit, on numbers,
// sizes, repeats, offsets and parameters drawn at random; and checks what it refuses.
#pragma once

#include "common/elementwise_op.h"
#include "common/testing_device.h"
#include "common/testing_numbers.h"

namespace xai::testing {

struct ElementwiseFunctions {
    const char* name;
    const ElementwiseOp& about;
    int (*ref)(const xai_elementwise*);
    int (*cpu)(const xai_elementwise*, int);
    int (*cuda)(const xai_elementwise*, int, void*);
};

// A call with memory of its own.
template <typename Bits>
class ElementwiseCase {
public:
    ElementwiseCase(const ElementwiseFunctions& op, int dtype, std::size_t n, std::size_t repeats,
                    std::mt19937_64& random)
        : op_(op), call_{dtype, static_cast<std::int64_t>(n), static_cast<std::int64_t>(repeats), {}, {}, {}} {
        for (int i = 0; i < op.about.input_count; ++i) {
            inputs_.emplace_back(op.about.inputs[i].repeated ? n * repeats : n, random() % 17);
            fill(inputs_.back(), random);
        }
        for (int i = 0; i < op.about.output_count; ++i) {
            expected_.emplace_back(n * repeats, std::size_t{0});
            outputs_.emplace_back(n * repeats, random() % 17);
        }
        for (int i = 0; i < op.about.parameter_count; ++i) {
            const double values[] = {0.0, 1e-6, 0.25, 1.0, 2.0, 1e-45, 1e-320, 3e38};
            const double sign = op.about.parameters[i].may_be_negative && random() % 2 != 0 ? -1.0 : 1.0;
            call_.parameters[i] = sign * values[random() % 8];
        }
    }

    void run(bool with_cuda) {
        check(op_.ref(&with(expected_)) == XAI_OK, name("reference"));
        on_every_cpu([&](int threads, const std::string& by) {
            compare(op_.cpu(&with(outputs_), threads), by);
            run_in_place(threads, by + ", in place");
        });
#if XAIPIPE_HAS_CUDA
        if (with_cuda) {
            run_cuda(0);
            run_cuda(sizeof(Bits));
        }
#else
        static_cast<void>(with_cuda);
#endif
    }

private:
    using Arrays = std::vector<Array<Bits>>;

    xai_elementwise& with(Arrays& outputs) {
        for (std::size_t i = 0; i < inputs_.size(); ++i) {
            call_.inputs[i] = inputs_[i].data();
        }
        for (std::size_t i = 0; i < outputs.size(); ++i) {
            call_.outputs[i] = outputs[i].data();
        }
        return call_;
    }

    std::string name(const std::string& by) const {
        std::string text = std::string(op_.name) + ": " + by + ", dtype " + std::to_string(call_.dtype) + ", n " +
                           std::to_string(call_.n) + " × " + std::to_string(call_.repeats) + ", parameters";
        for (int i = 0; i < op_.about.parameter_count; ++i) {
            text += " " + std::to_string(call_.parameters[i]);
        }
        return text;
    }

    // The first output takes the place of the first repeated input.
    void run_in_place(int threads, const std::string& by) {
        int repeated = 0;
        while (!op_.about.inputs[repeated].repeated) {
            ++repeated;
        }
        xai_elementwise& call = with(outputs_);
        std::copy_n(inputs_[static_cast<std::size_t>(repeated)].data(), outputs_[0].size(), outputs_[0].data());
        call.inputs[repeated] = outputs_[0].data();
        compare(op_.cpu(&call, threads), by);
    }

#if XAIPIPE_HAS_CUDA
    void run_cuda(std::size_t offset) {
        DeviceArrays device(offset);
        xai_elementwise call = call_;
        for (std::size_t i = 0; i < inputs_.size(); ++i) {
            call.inputs[i] = device.copy_of(inputs_[i]);
        }
        for (std::size_t i = 0; i < outputs_.size(); ++i) {
            call.outputs[i] = device.copy_of(outputs_[i]);
        }
        const int status = op_.cuda(&call, 0, nullptr);
        device.copy_back(outputs_);
        compare(status, "CUDA");
    }
#endif

    void compare(int status, const std::string& by) {
        check(status == XAI_OK, name(by) + ": " + xai_last_error());
        for (std::size_t i = 0; i < outputs_.size(); ++i) {
            check_same_bits(outputs_[i], expected_[i], name(by) + ", " + op_.about.outputs[i]);
        }
    }

    const ElementwiseFunctions& op_;
    xai_elementwise call_;
    Arrays inputs_, expected_, outputs_;
};

template <typename Bits>
void fuzz_elementwise(const ElementwiseFunctions& op, int dtype, bool with_cuda, std::mt19937_64& random) {
    for (const auto& [cases, limit] : {std::pair{200, std::size_t{3000}}, std::pair{3, std::size_t{200000}}}) {
        for (int i = 0; i < cases; ++i) {
            const std::size_t repeats = random() % 2 != 0 ? 1 : 1 + random() % 5;
            ElementwiseCase<Bits>(op, dtype, random_size(random, limit), repeats, random).run(with_cuda);
        }
    }
}

inline void fuzz_elementwise(const ElementwiseFunctions& op, bool with_cuda, std::mt19937_64& random) {
    fuzz_elementwise<std::uint32_t>(op, XAI_F32, with_cuda, random);
    fuzz_elementwise<std::uint64_t>(op, XAI_F64, with_cuda, random);
    fuzz_elementwise<std::uint16_t>(op, XAI_BF16, with_cuda, random);
}

// Every array and every parameter of the op, one after another.
inline void refuses_broken_preconditions(const ElementwiseFunctions& op) {
    alignas(8) char bytes[64] = {};
    xai_elementwise good{XAI_F32, 1, 1, {bytes, bytes, bytes}, {bytes, bytes + 8}, {}};
    check(op.cpu(&good, 1) == XAI_OK, std::string(op.name) + ": a good call");
    const auto broken = [&](const std::string& words, const auto& change) {
        xai_elementwise call = good;
        change(call);
        refuses(op.cpu(&call, 1), words);
        refuses(op.ref(&call), words);
    };
    broken("dtype: got code 9", [](auto& call) { call.dtype = 9; });
    broken("n: got -1", [](auto& call) { call.n = -1; });
    broken("repeats: got 0", [](auto& call) { call.repeats = 0; });
    broken("expected fewer", [](auto& call) { call.n = call.repeats = std::int64_t{1} << 40; });
    for (int i = 0; i < op.about.input_count; ++i) {
        const std::string name = op.about.inputs[i].name;
        broken(name + ": got a null pointer", [=](auto& call) { call.inputs[i] = nullptr; });
        broken("one aligned to its element of 4 bytes", [=, &bytes](auto& call) { call.inputs[i] = bytes + 1; });
    }
    for (int i = 0; i < op.about.output_count; ++i) {
        broken(std::string(op.about.outputs[i]) + ": got a null", [=](auto& call) { call.outputs[i] = nullptr; });
    }
    for (int i = 0; i < op.about.parameter_count; ++i) {
        const std::string name = op.about.parameters[i].name;
        for (const double value : {static_cast<double>(NAN), 1e39, HUGE_VAL}) {
            broken(name + ": got", [=](auto& call) { call.parameters[i] = value; });
        }
        if (!op.about.parameters[i].may_be_negative) {
            broken(name + ": got -0.1", [=](auto& call) { call.parameters[i] = -0.1; });
        }
    }
    refuses(op.cpu(&good, 0), "num_threads: got 0");
    const xai_elementwise empty{XAI_F32, 0, 1, {}, {}, {}};
    check(op.cpu(&empty, 1) == XAI_OK, std::string(op.name) + ": null pointers of empty arrays");
}

}  // namespace xai::testing
