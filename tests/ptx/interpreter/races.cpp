#include "machine.h"
#include <algorithm>

namespace ptx {

namespace {

// Epochs of reads by several blocks, which nothing orders, and by several warps, which a barrier of the block orders.
constexpr u32 SEVERAL = ALL_LANES;

void watch_one(Warp& warp, const Instruction& instruction, u32 lane, Cell& cell, bool writes, Strength strength) {
    const Block& block = *warp.block;
    const Launch& launch = *block.launch;
    const u32 threads = launch.threads;
    const u32 block_number = (block.z * launch.grid[1] + block.y) * launch.grid[0] + block.x;
    const u32 thread = block_number * threads + warp.first_thread + lane;
    auto is_same_block = [&](const Access& other) {
        return other.block_epoch != SEVERAL && other.thread / threads == block_number;
    };
    auto is_same_warp = [&](const Access& other) {
        return other.warp_epoch != SEVERAL && other.thread % threads / 32 == warp.number;
    };
    auto is_ordered = [&](const Access& other, bool is_one_thread) {
        if (other.strength == Strength::NONE || (strength == Strength::STRONG && other.strength == strength)) return true;
        if (!is_same_block(other)) return false;
        if (other.block_epoch != block.epoch || (is_one_thread && other.thread == thread)) return true;
        return is_same_warp(other) && other.warp_epoch != warp.epoch;
    };

    if (!is_ordered(cell.write, true))
        report(warp, instruction, lane, writes ? "a race: writes what another thread wrote, with no barrier between"
                                               : "a race: reads what another thread wrote, with no barrier between");
    const Access now{thread, block.epoch, warp.epoch, strength};
    Access& read = cell.read;
    if (writes) {
        if (!is_ordered(read, !cell.has_many_readers))
            report(warp, instruction, lane, "a race: writes what another thread read, with no barrier between");
        cell.write = now;
    } else if (read.strength == Strength::NONE || (is_same_block(read) && read.block_epoch != block.epoch)) {
        read = now;
        cell.has_many_readers = false;
    } else if (!is_same_block(read)) {
        read = Access{thread, SEVERAL, SEVERAL, std::min(strength, read.strength)};
        cell.has_many_readers = true;
    } else {
        cell.has_many_readers |= read.thread != thread;
        const u32 epoch = is_same_warp(read) ? warp.epoch : SEVERAL;
        read = Access{thread, block.epoch, epoch, std::min(strength, read.strength)};
    }
}

}  // namespace

void watch(Warp& warp, const Instruction& instruction, u32 lane, Cell* cells, u32 count, u32 step, bool writes,
           Strength strength) {
    for (u32 i = 0; i < count; i++) watch_one(warp, instruction, lane, cells[i * step], writes, strength);
}

}  // namespace ptx
