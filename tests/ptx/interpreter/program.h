// A parsed PTX module: kernels as lists of decoded instructions.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace ptx {

using std::string;
using std::vector;
using u8 = uint8_t; using i8 = int8_t;
using u16 = uint16_t; using i16 = int16_t;
using u32 = uint32_t; using i32 = int32_t;
using u64 = uint64_t; using i64 = int64_t;

constexpr u32 ALL_LANES = 0xffffffffu;
constexpr u32 SHARED_BASE = 1024;  // first address of shared memory; lower addresses are outside

struct Error { string message; };
[[noreturn]] void fail(const char* format, ...) __attribute__((format(printf, 1, 2)));
string format_text(const char* format, ...) __attribute__((format(printf, 1, 2)));

// A register, a constant, or, in brackets, an address that is one of them plus an offset.
struct Operand {
    int slot = -1;                  // number of the register; -1: a constant
    const u64* constant = nullptr;  // one copy per lane, so that constants are read like registers
    u64 value = 0;
    i64 offset = 0;
};

enum class Op : u8 { PLAIN, BRANCH, EXIT, BLOCK_BARRIER, WARP_BARRIER, SHUFFLE, VOTE, LOAD, STORE, ATOMIC, PARAMETER, TRAP, FENCE };
enum class Space : u8 { GLOBAL, SHARED, PARAMETERS };
enum class Atomic : u8 { ADD, MIN, MAX, AND, OR, XOR, EXCHANGE, COMPARE_AND_SWAP, INCREMENT, DECREMENT };
enum class Shuffle : u8 { UP, DOWN, XOR, INDEX };
enum class Vote : u8 { BALLOT, ANY, ALL };

// Classes that instructions are counted by; the order is that of CLASSES in tests/support/cuda_host/interpreter.py.
enum Class : u8 {
    FLOAT32, FLOAT64, INTEGER, COMPARISON, MOVE, CONVERSION, DIVISION, CONTROL, EXCHANGE, BARRIER, CONSTANT_LOAD,
    GLOBAL_LOAD, GLOBAL_STORE, GLOBAL_ATOMIC, SHARED_LOAD, SHARED_STORE, SHARED_ATOMIC, CLASSES
};

struct Warp;
struct Instruction;
using Execute = void (*)(Warp&, const Instruction&, u32 mask);

struct Instruction {
    Op op = Op::PLAIN;
    Class counted_as = INTEGER;
    Execute execute = nullptr;           // of plain instructions
    Space space = Space::GLOBAL;
    Atomic atomic = Atomic::ADD;
    u8 bytes = 0, count = 1;             // of an access: size of an element, number of elements
    bool is_signed = false, is_volatile = false, is_read_only = false;
    u8 mode = 0;                         // variant of a plain instruction, shuffle or vote
    int guard = -1;                      // predicate register; -1: unconditional
    bool guard_is_negated = false;
    vector<Operand> destinations, sources;
    int width = 32;                      // of the first destination, bits
    int target = -1;                     // of a branch
    int line = 0;
    string label, text;
};

struct Kernel {
    string name;
    vector<Instruction> code;
    vector<u32> parameter_sizes, parameter_offsets;
    u32 parameter_bytes = 0, max_threads = 0, shared_bytes = 0;  // max_threads 0: no launch bound
    vector<int> widths;                                           // bits, by register
};

struct Module {
    std::map<string, std::unique_ptr<Kernel>> kernels;
    std::map<u64, std::unique_ptr<u64[]>> constants;
};

// The first registers of every kernel.
enum Special {
    TID_X, TID_Y, TID_Z, NTID_X, NTID_Y, NTID_Z, CTAID_X, CTAID_Y, CTAID_Z, NCTAID_X, NCTAID_Y, NCTAID_Z, LANEID, WARPID,
    LANEMASK_LT, LANEMASK_LE, LANEMASK_EQ, LANEMASK_GE, LANEMASK_GT, SPECIALS
};

// Throws Error, also for instructions that are not known or not exactly rounded.
std::unique_ptr<Module> parse(const string& text);

// A plain instruction by its full name, such as "add.rn.f32".
struct PlainInstruction { Execute execute; u8 mode; };
const PlainInstruction* find_plain(const string& name);

}  // namespace ptx
