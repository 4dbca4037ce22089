// Data races: two threads access the same place, at least one of them writes, and no barrier is between them.
#pragma once
#include "program.h"

namespace ptx {

enum class Strength : u8 { NONE, PLAIN, STRONG };  // STRONG: atomic or volatile; two of these do not race

struct Access { u32 thread, block_epoch, warp_epoch; Strength strength; };

// Last write to a place, and a summary of the reads since the last barrier.
struct Cell { Access write, read; bool has_many_readers; };

constexpr u64 CELLS_PER_PAGE = 1024;

// Records accesses of a lane to consecutive places and reports races. `step`: distance of the cells.
void watch(Warp& warp, const Instruction& instruction, u32 lane, Cell* cells, u32 count, u32 step, bool writes,
           Strength strength);

}  // namespace ptx
