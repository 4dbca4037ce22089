// What a driver reads from a cubin, the ELF file that NVRTC makes.
#pragma once
#include <map>

#include "gpus.h"

namespace emulated {

bool is_cubin(const u8* image);
u32 architecture_of(const u8* image);
// Registers of a thread by kernel.
std::map<string, u32> registers_of(const u8* image);
// Digest of all but the last byte, which CuPy's getCUBIN cuts off.
string digest_of(const u8* image);

}  // namespace emulated
