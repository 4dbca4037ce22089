// Plain instructions: those that read and write registers only. Results are those of PTX, not of the host's processor:
// shifts do not wrap, conversions saturate, NaN is canonical, minima order the zeros.
#include "machine.h"
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>

namespace ptx {

namespace {

template <class T> T from_bits(u64 bits) { T value; memcpy(&value, &bits, sizeof value); return value; }
template <class T> u64 to_bits(T value) {
    u64 bits = 0;
    memcpy(&bits, &value, sizeof value);
    return bits;
}
template <> u64 to_bits<float>(float value) {  // arithmetic in single precision has one NaN
    u32 bits;
    memcpy(&bits, &value, sizeof bits);
    return value != value ? 0x7fffffffu : bits;
}

u32 all_defined(const Warp& warp, const Instruction& instruction) {
    u32 bits = ALL_LANES;
    for (const Operand& source : instruction.sources) bits &= defined(warp, source);
    return bits;
}

// Applies a function of the sources' bits to every lane.
template <int SOURCES, class Function>
void map_lanes(Warp& warp, const Instruction& instruction, u32 mask, Function function) {
    const u64* const a = read(warp, instruction.sources[0]);
    const u64* const b = SOURCES > 1 ? read(warp, instruction.sources[1]) : a;
    const u64* const c = SOURCES > 2 ? read(warp, instruction.sources[2]) : a;
    u64* const out = lanes_of(warp, instruction.destinations[0]);
    const int width = instruction.width;
    for_lanes(mask, [=](u32 lane) { out[lane] = truncate(function(a[lane], b[lane], c[lane]), width); });
    set_defined(warp, instruction.destinations[0], mask, all_defined(warp, instruction));
}

template <class T, class R, R (*F)(T)> void unary(Warp& warp, const Instruction& instruction, u32 mask) {
    map_lanes<1>(warp, instruction, mask, [](u64 a, u64, u64) { return to_bits<R>(F(from_bits<T>(a))); });
}
template <class T, class R, R (*F)(T, T)> void binary(Warp& warp, const Instruction& instruction, u32 mask) {
    map_lanes<2>(warp, instruction, mask, [](u64 a, u64 b, u64) {
        return to_bits<R>(F(from_bits<T>(a), from_bits<T>(b)));
    });
}
template <class T, class C, class R, R (*F)(T, T, C)>
void ternary(Warp& warp, const Instruction& instruction, u32 mask) {
    map_lanes<3>(warp, instruction, mask, [](u64 a, u64 b, u64 c) {
        return to_bits<R>(F(from_bits<T>(a), from_bits<T>(b), from_bits<C>(c)));
    });
}
template <class T, T (*F)(T, u32)> void shift(Warp& warp, const Instruction& instruction, u32 mask) {
    map_lanes<2>(warp, instruction, mask, [](u64 a, u64 b, u64) {
        return to_bits<T>(F(from_bits<T>(a), u32(b)));
    });
}

// ---- Floats

template <class T> T add_float(T a, T b) { return a + b; }
template <class T> T subtract_float(T a, T b) { return a - b; }
template <class T> T multiply_float(T a, T b) { return a * b; }
template <class T> T divide_float(T a, T b) { return a / b; }
template <class T> T root(T a) { return std::sqrt(a); }
template <class T> T fuse(T a, T b, T c) { return std::fma(a, b, c); }
template <class T> T negate_float(T bits) { return bits ^ T(1) << (sizeof(T) * 8 - 1); }
template <class T> T absolute_float(T bits) { return bits & ~(T(1) << (sizeof(T) * 8 - 1)); }
template <class T> T min_float(T a, T b) {
    if (a != a) return b;
    if (b != b) return a;
    if (a == 0 && b == 0) return std::signbit(a) ? a : b;
    return a < b ? a : b;
}
template <class T> T max_float(T a, T b) {
    if (a != a) return b;
    if (b != b) return a;
    if (a == 0 && b == 0) return std::signbit(a) ? b : a;
    return a > b ? a : b;
}

// ---- Integers

template <class T> using Unsigned = std::make_unsigned_t<T>;
template <class T> T move(T a) { return a; }
template <class T> T add(T a, T b) { return T(Unsigned<T>(a) + Unsigned<T>(b)); }
template <class T> T subtract(T a, T b) { return T(Unsigned<T>(a) - Unsigned<T>(b)); }
template <class T> T multiply(T a, T b) { return T(u64(a) * u64(b)); }
template <class T> T multiply_add(T a, T b, T c) { return T(u64(a) * u64(b) + u64(c)); }
template <class T> T negate(T a) { return T(0 - u64(a)); }
template <class T> T absolute(T a) { return a < 0 ? T(0 - u64(a)) : a; }
template <class T> T smaller(T a, T b) { return b < a ? b : a; }
template <class T> T larger(T a, T b) { return a < b ? b : a; }
template <class T> T bitwise_and(T a, T b) { return T(a & b); }
template <class T> T bitwise_or(T a, T b) { return T(a | b); }
template <class T> T bitwise_xor(T a, T b) { return T(a ^ b); }
template <class T> T bitwise_not(T a) { return T(~a); }
template <class T> T shift_left(T a, u32 n) { return n >= sizeof(T) * 8 ? T(0) : T(u64(a) << n); }
template <class T> T shift_right(T a, u32 n) { return n >= sizeof(T) * 8 ? (a < T(0) ? T(-1) : T(0)) : T(a >> n); }
template <class T, class W> T multiply_high(T a, T b) { return T(W(a) * W(b) >> (sizeof(T) * 8)); }
template <class T, class W> W multiply_wide(T a, T b) { return W(W(a) * W(b)); }
template <class T, class W> W multiply_add_wide(T a, T b, W c) {
    return W(Unsigned<W>(W(a) * W(b)) + Unsigned<W>(c));
}
template <class T> u32 count_ones(T a) { return u32(__builtin_popcountll(a)); }
template <class T> u32 count_leading_zeros(T a) {
    return a ? u32(__builtin_clzll(a)) - (64 - sizeof(T) * 8) : sizeof(T) * 8;
}
u32 reverse_bits(u32 a) {
    u32 reversed = 0;
    for (int i = 0; i < 32; i++) reversed |= (a >> i & 1u) << (31 - i);
    return reversed;
}
u32 find_highest_bit(u32 a) { return a ? 31 - u32(__builtin_clz(a)) : ALL_LANES; }
u32 find_shift_to_top(u32 a) { return a ? u32(__builtin_clz(a)) : ALL_LANES; }

// mode 1: remainder
template <class T> void divide(Warp& warp, const Instruction& instruction, u32 mask) {
    const u64 *const a = read(warp, instruction.sources[0]), *const b = read(warp, instruction.sources[1]);
    u64* const out = lanes_of(warp, instruction.destinations[0]);
    const u32 known = all_defined(warp, instruction);
    for_lanes(mask, [&](u32 lane) {
        const T x = from_bits<T>(a[lane]), y = from_bits<T>(b[lane]);
        const bool overflows = std::is_signed<T>::value && y == T(-1) && x == std::numeric_limits<T>::min();
        if (y == 0 || overflows) {
            if (known >> lane & 1) report(warp, instruction, lane, "a division by zero, or one that overflows");
            out[lane] = truncate(~0ull, instruction.width);
        } else {
            out[lane] = truncate(to_bits<T>(instruction.mode ? T(x % y) : T(x / y)), instruction.width);
        }
    });
    set_defined(warp, instruction.destinations[0], mask, known);
}

// ---- Bit fields

void insert_bits(Warp& warp, const Instruction& instruction, u32 mask) {
    const u64 *const from = read(warp, instruction.sources[0]), *const into = read(warp, instruction.sources[1]);
    const u64 *const position = read(warp, instruction.sources[2]), *const length = read(warp, instruction.sources[3]);
    u64* const out = lanes_of(warp, instruction.destinations[0]);
    for_lanes(mask, [=](u32 lane) {
        const u32 first = position[lane] & 255, count = length[lane] & 255;
        u32 field = u32(into[lane]);
        for (u32 i = 0; i < count && first + i < 32; i++)
            field = (field & ~(1u << (first + i))) | (u32(from[lane]) >> i & 1u) << (first + i);
        out[lane] = field;
    });
    set_defined(warp, instruction.destinations[0], mask, all_defined(warp, instruction));
}

template <class T> void extract_bits(Warp& warp, const Instruction& instruction, u32 mask) {
    constexpr u32 BITS = sizeof(T) * 8;
    map_lanes<3>(warp, instruction, mask, [](u64 a, u64 position, u64 length) {
        const u32 first = position & 255, count = length & 255;
        const u64 value = truncate(a, BITS);
        const bool sign = std::is_signed<T>::value && count && (value >> std::min(first + count - 1, BITS - 1) & 1);
        u64 field = sign ? ~0ull : 0;
        for (u32 i = 0; i < count && i < BITS; i++) {
            const bool bit = first + i < BITS ? value >> (first + i) & 1 : sign;
            field = (field & ~(1ull << i)) | u64(bit) << i;
        }
        return field;
    });
}

void permute_bytes(Warp& warp, const Instruction& instruction, u32 mask) {
    map_lanes<3>(warp, instruction, mask, [](u64 a, u64 b, u64 selection) {
        const u64 both = (a & ALL_LANES) | b << 32;
        u32 result = 0;
        for (int i = 0; i < 4; i++) {
            const u32 selected = u32(selection) >> (4 * i);
            u32 byte = u32(both >> (8 * (selected & 7))) & 255;
            if (selected & 8) byte = byte & 128 ? 255 : 0;
            result |= byte << (8 * i);
        }
        return u64(result);
    });
}

void look_up_bits(Warp& warp, const Instruction& instruction, u32 mask) {
    const u32 table = u32(instruction.sources[3].value);
    map_lanes<3>(warp, instruction, mask, [=](u64 a, u64 b, u64 c) {
        u32 result = 0;
        for (int i = 0; i < 32; i++)
            result |= (table >> ((a >> i & 1) << 2 | (b >> i & 1) << 1 | (c >> i & 1)) & 1) << i;
        return u64(result);
    });
}

enum Funnel { LEFT = 0, RIGHT = 1, WRAPS = 2 };
void shift_funnel(Warp& warp, const Instruction& instruction, u32 mask) {
    const u32 mode = instruction.mode;
    map_lanes<3>(warp, instruction, mask, [=](u64 a, u64 b, u64 c) {
        const u32 count = mode & WRAPS ? u32(c) & 31 : std::min(u32(c), 32u);
        const u64 both = (a & ALL_LANES) | b << 32;
        return u64(mode & RIGHT ? u32(both >> count) : u32(both << count >> 32));
    });
}

// ---- Selections and predicates. Their results may be defined although an operand is not.

void select(Warp& warp, const Instruction& instruction, u32 mask) {
    const u64 *const a = read(warp, instruction.sources[0]), *const b = read(warp, instruction.sources[1]);
    const u64* const predicate = read(warp, instruction.sources[2]);
    u64* const out = lanes_of(warp, instruction.destinations[0]);
    const u32 a_defined = defined(warp, instruction.sources[0]), b_defined = defined(warp, instruction.sources[1]);
    u32 known = 0;
    for_lanes(mask, [&](u32 lane) {
        out[lane] = truncate(predicate[lane] ? a[lane] : b[lane], instruction.width);
        known |= (predicate[lane] ? a_defined : b_defined) & 1u << lane;
    });
    set_defined(warp, instruction.destinations[0], mask, known & defined(warp, instruction.sources[2]));
}

template <bool AND> void combine_predicates(Warp& warp, const Instruction& instruction, u32 mask) {
    const u64 *const a = read(warp, instruction.sources[0]), *const b = read(warp, instruction.sources[1]);
    u64* const out = lanes_of(warp, instruction.destinations[0]);
    const u32 a_defined = defined(warp, instruction.sources[0]), b_defined = defined(warp, instruction.sources[1]);
    u32 known = a_defined & b_defined;
    for_lanes(mask, [&](u32 lane) {
        const bool x = a[lane], y = b[lane];
        const bool is_decided = (a_defined >> lane & 1 && x != AND) || (b_defined >> lane & 1 && y != AND);
        if (is_decided) known |= 1u << lane;
        out[lane] = is_decided ? !AND : AND ? x && y : x || y;
    });
    set_defined(warp, instruction.destinations[0], mask, known);
}

u64 differ(u64 a, u64 b) { return a != b; }
u64 invert(u64 a) { return !a; }

enum class Comparison { EQ, NE, LT, LE, GT, GE, EQU, NEU, LTU, LEU, GTU, GEU, NUM, NAN_ };
template <class T, Comparison C> bool compares(T a, T b) {
    const bool is_unordered = a != a || b != b;
    switch (C) {
        case Comparison::EQ: return a == b;
        case Comparison::NE: return a != b && !is_unordered;
        case Comparison::LT: return a < b;
        case Comparison::LE: return a <= b;
        case Comparison::GT: return a > b;
        case Comparison::GE: return a >= b;
        case Comparison::EQU: return a == b || is_unordered;
        case Comparison::NEU: return a != b;
        case Comparison::LTU: return a < b || is_unordered;
        case Comparison::LEU: return a <= b || is_unordered;
        case Comparison::GTU: return a > b || is_unordered;
        case Comparison::GEU: return a >= b || is_unordered;
        case Comparison::NUM: return !is_unordered;
        default: return is_unordered;
    }
}

// mode: 0, or the operation that combines the result with a third operand; the parser adds NEGATED for that operand.
enum Combination : u8 { ALONE, WITH_AND, WITH_OR, WITH_XOR, NEGATED };
template <class T, Comparison C> void compare(Warp& warp, const Instruction& instruction, u32 mask) {
    const u64 *const a = read(warp, instruction.sources[0]), *const b = read(warp, instruction.sources[1]);
    u64* const out = lanes_of(warp, instruction.destinations[0]);
    const u64* const third = instruction.sources.size() > 2 ? read(warp, instruction.sources[2]) : nullptr;
    const u8 combination = instruction.mode & 3;
    const bool is_negated = instruction.mode & NEGATED;
    for_lanes(mask, [=](u32 lane) {
        bool result = compares<T, C>(from_bits<T>(a[lane]), from_bits<T>(b[lane]));
        if (third) {
            const bool other = bool(third[lane]) != is_negated;
            result = combination == WITH_AND ? result && other
                     : combination == WITH_OR ? result || other
                                              : result != other;
        }
        out[lane] = result;
    });
    const u32 known = all_defined(warp, instruction);
    set_defined(warp, instruction.destinations[0], mask, known);
    if (instruction.destinations.size() > 1) {
        u64* const inverse = lanes_of(warp, instruction.destinations[1]);
        for_lanes(mask, [=](u32 lane) { inverse[lane] = !out[lane]; });
        set_defined(warp, instruction.destinations[1], mask, known);
    }
}

// ---- Conversions

template <class S, class D> void convert_integer(Warp& warp, const Instruction& instruction, u32 mask) {
    map_lanes<1>(warp, instruction, mask, [](u64 a, u64, u64) { return u64(i64(D(from_bits<S>(a)))); });
}
template <class S, class D> D convert_to_float(S value) { return D(value); }

// mode: one of these
enum Rounding : u8 { NEAREST = 1, TOWARDS_ZERO, DOWN, UP };
template <class T> T round_to_integer(T value, u8 rounding) {
    switch (rounding) {
        case NEAREST: return std::nearbyint(value);
        case TOWARDS_ZERO: return std::trunc(value);
        case DOWN: return std::floor(value);
        default: return std::ceil(value);
    }
}
template <class S, class D> void convert_to_integer(Warp& warp, const Instruction& instruction, u32 mask) {
    const S low = S(std::numeric_limits<D>::min()), beyond = std::ldexp(S(1), std::numeric_limits<D>::digits);
    // NaN becomes 0, or the lowest bit pattern with only the top bit set if one of the types has 64 bits.
    const D nan = sizeof(S) == 8 || sizeof(D) == 8 ? D(1ull << (sizeof(D) * 8 - 1)) : D(0);
    const u8 rounding = instruction.mode;
    map_lanes<1>(warp, instruction, mask, [=](u64 a, u64, u64) {
        const S value = round_to_integer(from_bits<S>(a), rounding);
        const D result = value != value ? nan
                         : value < low ? std::numeric_limits<D>::min()
                         : value >= beyond ? std::numeric_limits<D>::max()
                                           : D(value);
        return u64(i64(result));
    });
}
template <class T> void round_float(Warp& warp, const Instruction& instruction, u32 mask) {
    const u8 rounding = instruction.mode;
    map_lanes<1>(warp, instruction, mask, [=](u64 a, u64, u64) {
        return to_bits<T>(round_to_integer(from_bits<T>(a), rounding));
    });
}

// ---- The table, by full names

struct Table {
    std::map<string, PlainInstruction> entries;

    void put(const string& name, Execute execute, u8 mode = 0) { entries[name] = PlainInstruction{execute, mode}; }

    void put_comparison(const string& comparison, const string& type, Execute execute) {
        static const char* const combinations[] = {"", ".and", ".or", ".xor"};
        for (u8 mode = ALONE; mode <= WITH_XOR; mode++)
            put("setp." + comparison + combinations[mode] + "." + type, execute, mode);
    }
    template <class T> void put_comparisons(const string& type) {
        put_comparison("eq", type, compare<T, Comparison::EQ>);
        put_comparison("ne", type, compare<T, Comparison::NE>);
        put_comparison("lt", type, compare<T, Comparison::LT>);
        put_comparison("le", type, compare<T, Comparison::LE>);
        put_comparison("gt", type, compare<T, Comparison::GT>);
        put_comparison("ge", type, compare<T, Comparison::GE>);
    }
    template <class S> void put_conversions_of_integer(const string& type) {
        put("cvt.u8." + type, convert_integer<S, u8>);   put("cvt.s8." + type, convert_integer<S, i8>);
        put("cvt.u16." + type, convert_integer<S, u16>); put("cvt.s16." + type, convert_integer<S, i16>);
        put("cvt.u32." + type, convert_integer<S, u32>); put("cvt.s32." + type, convert_integer<S, i32>);
        put("cvt.u64." + type, convert_integer<S, u64>); put("cvt.s64." + type, convert_integer<S, i64>);
        put("cvt.rn.f32." + type, unary<S, float, convert_to_float<S, float>>);
        put("cvt.rn.f64." + type, unary<S, double, convert_to_float<S, double>>);
    }
    template <class U, class S, class WU, class WS> void put_integers(const string& bits) {
        const string u = ".u" + bits, s = ".s" + bits, b = ".b" + bits;
        for (const string& type : {u, s}) {
            put("add" + type, binary<U, U, add<U>>);
            put("sub" + type, binary<U, U, subtract<U>>);
            put("mul.lo" + type, binary<U, U, multiply<U>>);
            put("mad.lo" + type, ternary<U, U, U, multiply_add<U>>);
        }
        for (const string& type : {u, s, b}) {
            put("mov" + type, unary<U, U, move<U>>);
            put("selp" + type, select);
        }
        put("neg" + s, unary<S, S, negate<S>>);
        put("abs" + s, unary<S, S, absolute<S>>);
        put("min" + u, binary<U, U, smaller<U>>);
        put("min" + s, binary<S, S, smaller<S>>);
        put("max" + u, binary<U, U, larger<U>>);
        put("max" + s, binary<S, S, larger<S>>);
        put("mul.hi" + u, binary<U, U, multiply_high<U, WU>>);
        put("mul.hi" + s, binary<S, S, multiply_high<S, WS>>);
        put("div" + u, divide<U>);
        put("div" + s, divide<S>);
        put("rem" + u, divide<U>, 1);
        put("rem" + s, divide<S>, 1);
        put("and" + b, binary<U, U, bitwise_and<U>>);
        put("or" + b, binary<U, U, bitwise_or<U>>);
        put("xor" + b, binary<U, U, bitwise_xor<U>>);
        put("not" + b, unary<U, U, bitwise_not<U>>);
        put("shl" + b, shift<U, shift_left<U>>);
        put("shr" + u, shift<U, shift_right<U>>);
        put("shr" + b, shift<U, shift_right<U>>);
        put("shr" + s, shift<S, shift_right<S>>);
        put_comparisons<U>("u" + bits);
        put_comparisons<S>("s" + bits);
        put_comparisons<U>("b" + bits);
        put("setp.lo" + u, compare<U, Comparison::LT>);
        put("setp.ls" + u, compare<U, Comparison::LE>);
        put("setp.hi" + u, compare<U, Comparison::GT>);
        put("setp.hs" + u, compare<U, Comparison::GE>);
        put_conversions_of_integer<U>("u" + bits);
        put_conversions_of_integer<S>("s" + bits);
    }
    // add.f32 and mul.f32 that do not say how they round may be contracted by the assembler, so they are not known here.
    template <class T, class Bits> void put_floats(const string& type) {
        put("add.rn." + type, binary<T, T, add_float<T>>);
        put("sub.rn." + type, binary<T, T, subtract_float<T>>);
        put("mul.rn." + type, binary<T, T, multiply_float<T>>);
        put("div.rn." + type, binary<T, T, divide_float<T>>);
        put("fma.rn." + type, ternary<T, T, T, fuse<T>>);
        put("sqrt.rn." + type, unary<T, T, root<T>>);
        put("min." + type, binary<T, T, min_float<T>>);
        put("max." + type, binary<T, T, max_float<T>>);
        put("neg." + type, unary<Bits, Bits, negate_float<Bits>>);
        put("abs." + type, unary<Bits, Bits, absolute_float<Bits>>);
        put("mov." + type, unary<Bits, Bits, move<Bits>>);
        put("selp." + type, select);
        put_comparisons<T>(type);
        put_comparison("equ", type, compare<T, Comparison::EQU>);
        put_comparison("neu", type, compare<T, Comparison::NEU>);
        put_comparison("ltu", type, compare<T, Comparison::LTU>);
        put_comparison("leu", type, compare<T, Comparison::LEU>);
        put_comparison("gtu", type, compare<T, Comparison::GTU>);
        put_comparison("geu", type, compare<T, Comparison::GEU>);
        put_comparison("num", type, compare<T, Comparison::NUM>);
        put_comparison("nan", type, compare<T, Comparison::NAN_>);
        static const std::pair<const char*, Rounding> roundings[] = {
            {"rni", NEAREST}, {"rzi", TOWARDS_ZERO}, {"rmi", DOWN}, {"rpi", UP}};
        for (const auto& rounding : roundings) {
            const string name = string("cvt.") + rounding.first;
            put(name + ".s16." + type, convert_to_integer<T, i16>, rounding.second);
            put(name + ".u16." + type, convert_to_integer<T, u16>, rounding.second);
            put(name + ".s32." + type, convert_to_integer<T, i32>, rounding.second);
            put(name + ".u32." + type, convert_to_integer<T, u32>, rounding.second);
            put(name + ".s64." + type, convert_to_integer<T, i64>, rounding.second);
            put(name + ".u64." + type, convert_to_integer<T, u64>, rounding.second);
            put(name + "." + type + "." + type, round_float<T>, rounding.second);
        }
    }

    Table() {
        put_integers<u16, i16, u32, i32>("16");
        put_integers<u32, i32, u64, i64>("32");
        put_integers<u64, i64, unsigned __int128, __int128>("64");
        put_conversions_of_integer<u8>("u8");
        put_conversions_of_integer<i8>("s8");
        put_floats<float, u32>("f32");
        put_floats<double, u64>("f64");
        put("cvt.f64.f32", unary<float, double, convert_to_float<float, double>>);
        put("cvt.rn.f32.f64", unary<double, float, convert_to_float<double, float>>);
        put("mul.wide.u16", binary<u16, u32, multiply_wide<u16, u32>>);
        put("mul.wide.s16", binary<i16, i32, multiply_wide<i16, i32>>);
        put("mul.wide.u32", binary<u32, u64, multiply_wide<u32, u64>>);
        put("mul.wide.s32", binary<i32, i64, multiply_wide<i32, i64>>);
        put("mad.wide.u32", ternary<u32, u64, u64, multiply_add_wide<u32, u64>>);
        put("mad.wide.s32", ternary<i32, i64, i64, multiply_add_wide<i32, i64>>);
        put("popc.b32", unary<u32, u32, count_ones<u32>>);
        put("popc.b64", unary<u64, u32, count_ones<u64>>);
        put("clz.b32", unary<u32, u32, count_leading_zeros<u32>>);
        put("clz.b64", unary<u64, u32, count_leading_zeros<u64>>);
        put("brev.b32", unary<u32, u32, reverse_bits>);
        put("bfind.u32", unary<u32, u32, find_highest_bit>);
        put("bfind.shiftamt.u32", unary<u32, u32, find_shift_to_top>);
        put("bfi.b32", insert_bits);
        put("bfe.u32", extract_bits<u32>);
        put("bfe.s32", extract_bits<i32>);
        put("bfe.u64", extract_bits<u64>);
        put("bfe.s64", extract_bits<i64>);
        put("prmt.b32", permute_bytes);
        put("lop3.b32", look_up_bits);
        put("shf.l.clamp.b32", shift_funnel, LEFT);
        put("shf.r.clamp.b32", shift_funnel, RIGHT);
        put("shf.l.wrap.b32", shift_funnel, LEFT | WRAPS);
        put("shf.r.wrap.b32", shift_funnel, RIGHT | WRAPS);
        put("mov.pred", unary<u64, u64, move<u64>>);
        put("and.pred", combine_predicates<true>);
        put("or.pred", combine_predicates<false>);
        put("xor.pred", binary<u64, u64, differ>);
        put("not.pred", unary<u64, u64, invert>);
        put("cvta.to.global.u64", unary<u64, u64, move<u64>>);
    }
};

}  // namespace

const PlainInstruction* find_plain(const string& name) {
    static const Table table;
    const auto found = table.entries.find(name);
    return found == table.entries.end() ? nullptr : &found->second;
}

}  // namespace ptx
