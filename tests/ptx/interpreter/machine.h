// State of a launch. Every register holds 64 bits per lane, of which its width counts, and one bit per lane that says
// whether the value is defined: loads of memory that was never written make undefined values. Branches, addresses and
// exchanges that depend on undefined values are findings; stores of them make memory unwritten again.
#pragma once
#include "program.h"
#include "races.h"
#include <set>

namespace ptx {

struct Counts {
    u64 instructions[CLASSES];  // of warps
    u64 lanes;                  // active lanes, summed over instructions
    u64 divergent_branches, barriers;
    // Per class: requests of warps, bytes of their lanes, and 32-byte sectors (global) or wavefronts (shared).
    u64 requests[CLASSES], bytes[CLASSES], transfers[CLASSES];
};

// seed 0: warps and lanes take turns in order; otherwise at random.
struct Options { u64 finds_races, seed, max_instructions; };

// A global array. `written` has a byte for each byte of the array.
struct Range {
    u64 low, high;
    u8 *host, *written;
    vector<std::unique_ptr<Cell[]>> cells;  // by page; most of a large array is never touched
};

enum class State : u8 { RUNNING, AT_BLOCK_BARRIER, AT_EXCHANGE };

// Lanes of a warp at the same instruction.
struct Group { u32 at, mask; State state; };

struct Block;
struct Warp {
    Block* block = nullptr;
    u32 number = 0, first_thread = 0, alive = 0;
    u32 epoch = 1;  // number of barriers of the whole warp
    vector<u64> values;
    vector<u32> defined;
    vector<Group> groups;
};

struct Launch;
struct Block {
    Launch* launch = nullptr;
    u32 x = 0, y = 0, z = 0, epoch = 1;
    vector<Warp> warps;
    vector<u8> shared, shared_written;
    vector<Cell> cells;
};

struct Launch {
    const Kernel* kernel;
    const u32 *grid, *block_size;
    u32 threads, dynamic_bytes;
    const u8* parameters;
    Options options;
    Counts* counts;
    vector<Range> ranges;
    std::set<string> findings;
    u64 executed = 0, random = 1;

    u32 next_random() {
        random ^= random << 13; random ^= random >> 7; random ^= random << 17;
        return u32(random >> 11);
    }
};

// ---- Registers

inline u64* lanes_of(Warp& warp, const Operand& register_) { return &warp.values[u64(register_.slot) * 32]; }
inline const u64* read(const Warp& warp, const Operand& source) {
    return source.constant ? source.constant : &warp.values[u64(source.slot) * 32];
}
inline u32 defined(const Warp& warp, const Operand& source) {
    return source.constant ? ALL_LANES : warp.defined[source.slot];
}
inline void set_defined(Warp& warp, const Operand& destination, u32 mask, u32 bits) {
    u32& old = warp.defined[destination.slot];
    old = (old & ~mask) | (bits & mask);
}
inline u64 truncate(u64 value, int width) { return width >= 64 ? value : value & ((1ull << width) - 1); }
inline u32 first_lane(u32 mask) { return u32(__builtin_ctz(mask)); }

// The full warp is a loop of constant length, which compilers vectorise.
template <class Body> inline void for_lanes(u32 mask, Body body) {
    if (mask == ALL_LANES)
        for (u32 lane = 0; lane < 32; lane++) body(lane);
    else
        for (; mask; mask &= mask - 1) body(first_lane(mask));
}

// ---- Findings: report() continues, so that one launch may have several; stop() ends the launch.

void report(const Warp& warp, const Instruction& instruction, u32 lane, const char* what);
[[noreturn]] void stop(const Warp& warp, const Instruction& instruction, u32 lane, const string& what);

// ---- Instructions by what they touch

void load(Warp& warp, const Instruction& instruction, u32 mask);
void store(Warp& warp, const Instruction& instruction, u32 mask);
void update_atomically(Warp& warp, const Instruction& instruction, u32 mask);
void load_parameter(Warp& warp, const Instruction& instruction, u32 mask);

// Completes one exchange whose participants have all arrived. Returns false if there is none.
bool complete_exchange(Warp& warp);

// Runs all blocks. Returns the findings as text, empty if all is well.
string run_grid(Launch& launch);

}  // namespace ptx
