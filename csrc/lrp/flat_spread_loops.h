// The loops of the flat rule on the CPU. Each per-ISA file compiles them with its own flags.
#pragma once

#include "lrp/flat_spread_geometry.h"

namespace xai::lrp {

// Sums over channels: of `count` cells that lie `step` elements apart, channels `step_channel` apart.
struct ChannelSum {
    const void* relevance;
    void* sums;
    std::int64_t count, step, channels, step_channel;
};

struct FlatLoops {
    PerDtype<void(const ChannelSum&)> sum_channels;
    // One row of sums, divided in place by cells * columns(ox), then handed to the columns of `across`.
    PerDtype<void(const WindowAxis& columns, std::int64_t cells, void* sums, void* across)> spread_across;
    // One row of the result from the rows of `across` of its image.
    PerDtype<void(const WindowAxis& rows, std::int64_t y, std::int64_t width, const void* across, void* out)>
        spread_down;
};

extern const FlatLoops flat_spread_baseline;
extern const FlatLoops flat_spread_avx2;
extern const FlatLoops flat_spread_avx512;

namespace {

// Cells, or columns, whose sums stay in the nearest cache while they are made.
constexpr std::int64_t flat_block = 256;

// Cells whose channels are added up side by side where channels are innermost. One by one each addition would wait for
// the last; as vectors, which is what `omp simd` makes of it, they were measured at half the speed, for the gathering.
constexpr int cells_at_once = 8;

template <typename Value>
inline void sum_planes(const ChannelSum& task, const Value* relevance, Computed<Value>* sums, std::int64_t count) {
    Computed<Value> totals[flat_block] = {};
    for (std::int64_t c = 0; c < task.channels; ++c) {
        const Value* cells = relevance + c * task.step_channel;
#pragma omp simd
        for (std::int64_t i = 0; i < count; ++i) {
            totals[i] += load(cells[i]);
        }
    }
    for (std::int64_t i = 0; i < count; ++i) {
        sums[i] = totals[i];
    }
}

template <int count, typename Value>
inline void sum_cells(const ChannelSum& task, const Value* relevance, Computed<Value>* sums) {
    Computed<Value> totals[count] = {};
    for (std::int64_t c = 0; c < task.channels; ++c) {
        for (int i = 0; i < count; ++i) {
            totals[i] += load(relevance[i * task.step + c * task.step_channel]);
        }
    }
    for (int i = 0; i < count; ++i) {
        sums[i] = totals[i];
    }
}

template <typename Value>
void sum_channels(const ChannelSum& task) {
    const auto* relevance = static_cast<const Value*>(task.relevance);
    auto* sums = static_cast<Computed<Value>*>(task.sums);
    std::int64_t first = 0;
    if (task.step == 1) {
        for (; first < task.count; first += flat_block) {
            const std::int64_t count = first + flat_block < task.count ? flat_block : task.count - first;
            sum_planes(task, relevance + first, sums + first, count);
        }
        return;
    }
    for (; first + cells_at_once <= task.count; first += cells_at_once) {
        sum_cells<cells_at_once>(task, relevance + first * task.step, sums + first);
    }
    for (; first < task.count; ++first) {
        sum_cells<1>(task, relevance + first * task.step, sums + first);
    }
}

struct NextTo {
    constexpr operator std::int64_t() const { return 1; }
};

template <typename Real, typename Stride>
inline void add_at(const Real* shares, Real* across, std::int64_t count, Stride stride) {
#pragma omp simd
    for (std::int64_t i = 0; i < count; ++i) {
        across[i * stride] += shares[i];
    }
}

template <typename Value>
void spread_across(const WindowAxis& columns, std::int64_t cells, void* sums, void* across) {
    using Real = Computed<Value>;
    auto* shares = static_cast<Real*>(sums);
    auto* targets = static_cast<Real*>(across);
    for (std::int64_t ox = 0; ox < columns.size_out; ++ox) {
        shares[ox] = share_of(shares[ox], cells * cells_inside(columns, ox));
    }
    for (std::int64_t x = 0; x < columns.size_in; ++x) {
        targets[x] = Real(0);
    }
    for (std::int64_t kx = 0; kx < columns.kernel; ++kx) {
        // Output cells whose position kx lies inside are neighbours: the first, and how many.
        const std::int64_t before = -cell_of(columns, 0, kx);
        const std::int64_t first = before > 0 ? (before + columns.stride - 1) / columns.stride : 0;
        const std::int64_t x = cell_of(columns, first, kx);
        const std::int64_t room = x < columns.size_in ? (columns.size_in - 1 - x) / columns.stride + 1 : 0;
        const std::int64_t left = columns.size_out - first;
        const std::int64_t count = room < left ? room : left;
        if (count > 0 && columns.stride == 1) {
            add_at(shares + first, targets + x, count, NextTo{});
        } else if (count > 0) {
            add_at(shares + first, targets + x, count, columns.stride);
        }
    }
}

template <typename Value>
void spread_down(const WindowAxis& rows, std::int64_t y, std::int64_t width, const void* across, void* out) {
    using Real = Computed<Value>;
    auto* results = static_cast<Value*>(out);
    for (std::int64_t x = 0; x < width; x += flat_block) {
        const std::int64_t count = x + flat_block < width ? flat_block : width - x;
        Real totals[flat_block] = {};
        for (std::int64_t ky = 0; ky < rows.kernel; ++ky) {
            const std::int64_t oy = output_over(rows, y, ky);
            if (oy < 0) {
                continue;
            }
            const Real* row = static_cast<const Real*>(across) + oy * width + x;
#pragma omp simd
            for (std::int64_t i = 0; i < count; ++i) {
                totals[i] += row[i];
            }
        }
        for (std::int64_t i = 0; i < count; ++i) {
            store(results[x + i], totals[i]);
        }
    }
}

constexpr FlatLoops flat_loops{
    {sum_channels<float>, sum_channels<double>, sum_channels<bf16>},
    {spread_across<float>, spread_across<double>, spread_across<bf16>},
    {spread_down<float>, spread_down<double>, spread_down<bf16>},
};

}  // namespace
}  // namespace xai::lrp
