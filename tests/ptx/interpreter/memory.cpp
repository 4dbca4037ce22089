// Loads, stores and atomic operations: bounds, alignment, what was written, and the cost of a warp's request.
#include "machine.h"
#include <algorithm>
#include <cstring>

namespace ptx {

namespace {

constexpr u64 SECTOR_BYTES = 32, BANKS = 32, WORD_BYTES = 4;
constexpr u64 NEARBY = 4096;  // an address this close to an array is reported with its distance

struct Place {
    u8 *data, *written;
    Cell* cells;
    u32 cell_count, cell_step;
};

Range& find_range(Warp& warp, const Instruction& instruction, u32 lane, u64 address, u32 size) {
    static thread_local size_t last = 0;
    vector<Range>& ranges = warp.block->launch->ranges;
    auto is_inside = [&](const Range& range) { return address >= range.low && address + size <= range.high; };
    if (last < ranges.size() && is_inside(ranges[last])) return ranges[last];
    for (last = 0; last < ranges.size(); last++)
        if (is_inside(ranges[last])) return ranges[last];
    string what = "an address outside of all arrays";
    for (const Range& range : ranges)
        if (address + NEARBY >= range.low && address < range.high + NEARBY)
            what += format_text(" (byte %lld of an array of %llu)", (long long)(address - range.low),
                                (unsigned long long)(range.high - range.low));
    stop(warp, instruction, lane, what);
}

Place locate(Warp& warp, const Instruction& instruction, u32 lane, u64 address, u32 size) {
    Block& block = *warp.block;
    const bool finds_races = block.launch->options.finds_races;
    if (address % size) stop(warp, instruction, lane, "an address that is not aligned");
    if (instruction.space == Space::SHARED) {
        address &= ALL_LANES;
        if (address < SHARED_BASE || address + size > SHARED_BASE + block.shared.size())
            stop(warp, instruction, lane, format_text("an address outside of shared memory (byte %lld of %zu)",
                                                      (long long)address - SHARED_BASE, block.shared.size()));
        const u64 at = address - SHARED_BASE;
        // One cell per word: kernels have no shared arrays of smaller elements.
        return Place{&block.shared[at], &block.shared_written[at], finds_races ? &block.cells[at / WORD_BYTES] : nullptr,
                     std::max(1u, size / u32(WORD_BYTES)), 1};
    }
    Range& range = find_range(warp, instruction, lane, address, size);
    const u64 at = address - range.low;
    Cell* cell = nullptr;
    if (finds_races) {
        if (range.cells.empty()) range.cells.resize((range.high - range.low) / CELLS_PER_PAGE + 1);
        auto& page = range.cells[at / CELLS_PER_PAGE];
        if (!page) page.reset(new Cell[CELLS_PER_PAGE]());
        cell = &page[at % CELLS_PER_PAGE];
    }
    // One cell per byte, of which an access takes the first of every word.
    return Place{range.host + at, range.written + at, cell, std::max(1u, size / u32(WORD_BYTES)), u32(WORD_BYTES)};
}

u64 address_of(Warp& warp, const Instruction& instruction, u32 lane) {
    const Operand& operand = instruction.sources[0];
    if (!(defined(warp, operand) >> lane & 1)) report(warp, instruction, lane, "an address computed from unwritten memory");
    return read(warp, operand)[lane] + u64(operand.offset);
}

bool is_written(const u8* written, u32 bytes) {
    return std::all_of(written, written + bytes, [](u8 each) { return each != 0; });
}

void watch(Warp& warp, const Instruction& instruction, u32 lane, const Place& place, bool writes, Strength strength) {
    if (place.cells) watch(warp, instruction, lane, place.cells, place.cell_count, place.cell_step, writes, strength);
}

Strength strength_of(const Instruction& instruction) {
    return instruction.is_volatile ? Strength::STRONG : Strength::PLAIN;
}

// Number of different values; sorts them.
u64 count_distinct(u64* values, u64 count) {
    if (!std::is_sorted(values, values + count)) std::sort(values, values + count);
    return u64(std::unique(values, values + count) - values);
}

// Passes through shared memory: a pass reads one word of each bank. Wide accesses are divided among parts of the warp.
u64 count_wavefronts(const u64* addresses, u64 count, u64 size) {
    const u64 words_per_lane = std::max<u64>(1, size / WORD_BYTES), lanes_per_part = 32 / words_per_lane;
    u64 wavefronts = 0;
    for (u64 first = 0; first < count; first += lanes_per_part) {
        u64 words[32], n = 0;
        for (u64 lane = first; lane < std::min(count, first + lanes_per_part); lane++)
            for (u64 i = 0; i < words_per_lane; i++) words[n++] = addresses[lane] / WORD_BYTES + i;
        n = count_distinct(words, n);
        u8 in_bank[BANKS] = {}, most = 1;
        if (words[n - 1] - words[0] >= BANKS)
            for (u64 i = 0; i < n; i++) most = std::max(most, ++in_bank[words[i] % BANKS]);
        wavefronts += most;
    }
    return wavefronts;
}

void count_request(Warp& warp, const Instruction& instruction, u32 mask, u32 size) {
    u64 addresses[64], count = 0;
    const u64* const base = read(warp, instruction.sources[0]);
    for_lanes(mask, [&](u32 lane) { addresses[count++] = base[lane] + u64(instruction.sources[0].offset); });
    Counts& counts = *warp.block->launch->counts;
    const Class kind = instruction.counted_as;
    counts.requests[kind]++;
    counts.bytes[kind] += count * size;
    if (instruction.space == Space::SHARED) {
        counts.transfers[kind] += count_wavefronts(addresses, count, size);
        return;
    }
    for (u64 i = 0; i < count; i++) addresses[i] /= SECTOR_BYTES;  // no aligned access has two sectors
    counts.transfers[kind] += count_distinct(addresses, count);
}

template <class T, class Signed> T combine(Atomic kind, T old, T value, T other) {
    switch (kind) {
        case Atomic::ADD: return T(old + value);
        case Atomic::MIN: return Signed(value) < Signed(old) ? value : old;
        case Atomic::MAX: return Signed(old) < Signed(value) ? value : old;
        case Atomic::AND: return old & value;
        case Atomic::OR: return old | value;
        case Atomic::XOR: return old ^ value;
        case Atomic::EXCHANGE: return value;
        case Atomic::COMPARE_AND_SWAP: return old == value ? other : old;
        case Atomic::INCREMENT: return old >= value ? 0 : old + 1;
        default: return old == 0 || old > value ? value : old - 1;
    }
}

}  // namespace

void load(Warp& warp, const Instruction& instruction, u32 mask) {
    const u32 bytes = instruction.bytes, size = bytes * instruction.count;
    const vector<int>& widths = warp.block->launch->kernel->widths;
    count_request(warp, instruction, mask, size);
    for_lanes(mask, [&](u32 lane) {
        const Place place = locate(warp, instruction, lane, address_of(warp, instruction, lane), size);
        if (instruction.is_read_only && place.cells && place.cells[0].write.strength != Strength::NONE)
            report(warp, instruction, lane, "reads what this launch wrote through the read-only cache");
        watch(warp, instruction, lane, place, false, strength_of(instruction));
        for (u32 i = 0; i < instruction.count; i++) {
            const Operand& destination = instruction.destinations[i];
            u64 value = 0;
            memcpy(&value, place.data + i * bytes, bytes);
            if (instruction.is_signed && bytes < 8 && value >> (bytes * 8 - 1) & 1) value |= ~0ull << (bytes * 8);
            lanes_of(warp, destination)[lane] = truncate(value, widths[u32(destination.slot)]);
            set_defined(warp, destination, 1u << lane, is_written(place.written + i * bytes, bytes) ? ALL_LANES : 0);
        }
    });
}

void store(Warp& warp, const Instruction& instruction, u32 mask) {
    const u32 bytes = instruction.bytes, size = bytes * instruction.count;
    count_request(warp, instruction, mask, size);
    for_lanes(mask, [&](u32 lane) {
        const Place place = locate(warp, instruction, lane, address_of(warp, instruction, lane), size);
        watch(warp, instruction, lane, place, true, strength_of(instruction));
        for (u32 i = 0; i < instruction.count; i++) {
            const Operand& source = instruction.sources[1 + i];
            memcpy(place.data + i * bytes, &read(warp, source)[lane], bytes);
            memset(place.written + i * bytes, defined(warp, source) >> lane & 1, bytes);
        }
    });
}

void update_atomically(Warp& warp, const Instruction& instruction, u32 mask) {
    const u32 bytes = instruction.bytes;
    count_request(warp, instruction, mask, bytes);
    for_lanes(mask, [&](u32 lane) {
        const Place place = locate(warp, instruction, lane, address_of(warp, instruction, lane), bytes);
        watch(warp, instruction, lane, place, true, Strength::STRONG);
        u64 old = 0;
        memcpy(&old, place.data, bytes);
        const u64 value = read(warp, instruction.sources[1])[lane];
        const u64 other = instruction.sources.size() > 2 ? read(warp, instruction.sources[2])[lane] : 0;
        const bool was_written = is_written(place.written, bytes);
        if (!was_written && instruction.atomic != Atomic::EXCHANGE)
            report(warp, instruction, lane, "an atomic operation on unwritten memory");
        if (!(defined(warp, instruction.sources[1]) >> lane & 1))
            report(warp, instruction, lane, "an atomic operation with a value from unwritten memory");
        const Atomic kind = instruction.atomic;
        const bool is_signed = instruction.is_signed;
        const u64 made = bytes == 8 ? (is_signed ? combine<u64, i64>(kind, old, value, other)
                                                 : combine<u64, u64>(kind, old, value, other))
                                    : (is_signed ? combine<u32, i32>(kind, u32(old), u32(value), u32(other))
                                                 : combine<u32, u32>(kind, u32(old), u32(value), u32(other)));
        memcpy(place.data, &made, bytes);
        memset(place.written, 1, bytes);
        if (instruction.destinations.empty()) return;
        lanes_of(warp, instruction.destinations[0])[lane] = old;
        set_defined(warp, instruction.destinations[0], 1u << lane, was_written ? ALL_LANES : 0);
    });
}

void load_parameter(Warp& warp, const Instruction& instruction, u32 mask) {
    const Operand& source = instruction.sources[0];
    const u8* element = warp.block->launch->parameters + source.value + u64(source.offset);
    for (const Operand& destination : instruction.destinations) {
        u64 value = 0;
        memcpy(&value, element, instruction.bytes);
        if (instruction.is_signed && instruction.bytes < 8 && value >> (instruction.bytes * 8 - 1) & 1)
            value |= ~0ull << (instruction.bytes * 8);
        u64* const out = lanes_of(warp, destination);
        for_lanes(mask, [&](u32 lane) { out[lane] = truncate(value, instruction.width); });
        set_defined(warp, destination, mask, ALL_LANES);
        element += instruction.bytes;
    }
}

}  // namespace ptx
