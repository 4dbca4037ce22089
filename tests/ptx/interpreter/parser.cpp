// From the text that NVRTC writes to instructions. What is not known is an error, never skipped.
#include "program.h"
#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>

namespace ptx {

string format_text(const char* format, ...) {
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return text;
}

void fail(const char* format, ...) {
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    throw Error{text};
}

namespace {

const char* const BLANKS = " \t\r\n";
const char* const SPECIAL_NAMES[SPECIALS] = {
    "%tid.x", "%tid.y", "%tid.z", "%ntid.x", "%ntid.y", "%ntid.z", "%ctaid.x", "%ctaid.y", "%ctaid.z", "%nctaid.x",
    "%nctaid.y", "%nctaid.z", "%laneid", "%warpid", "%lanemask_lt", "%lanemask_le", "%lanemask_eq", "%lanemask_ge",
    "%lanemask_gt"};

string trim(const string& text) {
    const size_t first = text.find_first_not_of(BLANKS), last = text.find_last_not_of(BLANKS);
    return first == string::npos ? "" : text.substr(first, last - first + 1);
}

// Splits at a character outside brackets and trims the parts.
vector<string> split(const string& text, char separator) {
    vector<string> parts(1);
    int depth = 0;
    for (char c : text) {
        depth += c == '{' || c == '[';
        depth -= c == '}' || c == ']';
        if (c == separator && !depth) parts.emplace_back();
        else parts.back() += c;
    }
    for (string& part : parts) part = trim(part);
    return parts;
}

bool begins_with(const string& text, const char* beginning) { return text.rfind(beginning, 0) == 0; }

u32 round_up(u32 value, u32 unit) { return (value + unit - 1) / unit * unit; }

struct Parser {
    Module& module;
    Kernel* kernel = nullptr;
    int line = 1;
    std::map<string, u32> registers, symbols, parameters;
    std::map<string, int> labels;
    string dynamic_shared;  // name of the array whose size is known at launch
    u32 dynamic_alignment = 16;

    explicit Parser(Module& into) : module(into) {}

    // ---- Names and numbers

    const u64* constant(u64 value) {
        auto& copies = module.constants[value];
        if (!copies) {
            copies.reset(new u64[32]);
            std::fill_n(copies.get(), 32, value);
        }
        return copies.get();
    }

    u32 bytes_of(const string& type) const {
        if (type == "pred") return 1;
        const int bits = atoi(type.c_str() + 1);
        if (bits != 8 && bits != 16 && bits != 32 && bits != 64) fail("line %d: unknown type .%s", line, type.c_str());
        return u32(bits) / 8;
    }

    u64 number(const string& text) const {
        if (text.size() > 2 && text[0] == '0' && string("fFdD").find(text[1]) != string::npos)
            return strtoull(text.c_str() + 2, nullptr, 16);
        char* end;
        const u64 value = text[0] == '-' ? u64(strtoll(text.c_str(), &end, 0)) : strtoull(text.c_str(), &end, 0);
        if (text.empty() || (*end && *end != 'U')) fail("line %d: %s is not a number", line, text.c_str());
        return value;
    }

    int find_register(const string& name) const {
        const auto found = registers.find(name);
        return found == registers.end() ? -1 : int(found->second);
    }

    Operand operand(string text) {
        Operand made;
        if (text[0] == '[') {
            text = trim(text.substr(1, text.size() - 2));
            if (const size_t plus = text.find('+'); plus != string::npos) {
                made.offset = i64(number(trim(text.substr(plus + 1))));
                text = trim(text.substr(0, plus));
            }
        }
        made.slot = find_register(text);
        if (made.slot >= 0) return made;
        if (const auto symbol = symbols.find(text); symbol != symbols.end()) made.value = symbol->second;
        else if (const auto parameter = parameters.find(text); parameter != parameters.end()) made.value = parameter->second;
        else made.value = number(text);
        made.constant = constant(made.value);
        return made;
    }

    // ---- Declarations

    void add_register(const string& name, int width) {
        registers[name] = u32(kernel->widths.size());
        kernel->widths.push_back(width);
    }

    void begin_kernel(const string& text) {
        const string after = text.substr(text.find(".entry") + 6), name = trim(after.substr(0, after.find('(')));
        module.kernels[name].reset(kernel = new Kernel());
        kernel->name = name;
        registers.clear(); symbols.clear(); parameters.clear(); labels.clear();
        for (const char* special : SPECIAL_NAMES) add_register(special, 32);
    }

    // .param .u64 name_param_0, .param .u64 .ptr .align 1 name_param_0, or, for a structure,
    // .param .align 8 .b8 name_param_0[24]
    void add_parameter(string text) {
        if (text.back() == ',') text.pop_back();
        const vector<string> words = split(text, ' ');
        const string& last = words.back();
        const size_t bracket = last.find('[');
        const bool is_structure = bracket != string::npos;
        const u32 size = is_structure ? u32(std::stoul(last.substr(bracket + 1))) : bytes_of(words[1].substr(1));
        const u32 offset = round_up(kernel->parameter_bytes, is_structure ? u32(std::stoul(words[2])) : size);
        parameters[last.substr(0, bracket)] = offset;
        kernel->parameter_offsets.push_back(offset);
        kernel->parameter_sizes.push_back(size);
        kernel->parameter_bytes = offset + size;
    }

    void declare_registers(const string& text) {  // .reg .b32 %r<227>
        const size_t dot = text.find('.', 4), space = text.find_first_of(BLANKS, dot);
        const string type = text.substr(dot + 1, space - dot - 1);
        const int width = type == "pred" ? 1 : 8 * int(bytes_of(type));
        for (const string& name : split(text.substr(space), ',')) {
            const size_t bracket = name.find('<');
            if (bracket == string::npos) { add_register(name, width); continue; }
            const int count = atoi(name.c_str() + bracket + 1);
            for (int i = 0; i < count; i++) add_register(name.substr(0, bracket) + std::to_string(i), width);
        }
    }

    static u32 alignment(const string& text) {
        const size_t at = text.find(".align");
        return at == string::npos ? 1 : u32(atoi(text.c_str() + at + 6));
    }

    void declare_shared(const string& text) {  // .shared .align 4 .b8 name[1024]
        const size_t bracket = text.find('['), dot = text.rfind('.', bracket), space = text.find_first_of(BLANKS, dot);
        const u32 unit = bytes_of(text.substr(dot + 1, space - dot - 1));
        const u32 count = bracket == string::npos ? 1 : u32(atoi(text.c_str() + bracket + 1));
        const u32 offset = round_up(kernel->shared_bytes, alignment(text));
        symbols[trim(text.substr(space, std::min(bracket, text.size()) - space))] = SHARED_BASE + offset;
        kernel->shared_bytes = offset + unit * count;
    }

    // Dynamic shared memory follows the declared arrays; declarations come before the first instruction.
    void place_dynamic_shared() {
        if (dynamic_shared.empty() || symbols.count(dynamic_shared)) return;
        kernel->shared_bytes = round_up(kernel->shared_bytes, dynamic_alignment);
        symbols[dynamic_shared] = SHARED_BASE + kernel->shared_bytes;
    }

    // ---- Instructions

    void add_destinations(Instruction& made, string text) {  // %f1, {%f1, %f2} of vectors, or %p1|%p2
        const bool is_vector = text[0] == '{';
        if (is_vector) text = text.substr(1, text.size() - 2);
        for (const string& name : split(text, is_vector ? ',' : '|')) {
            Operand destination;
            destination.slot = find_register(name);
            if (destination.slot < 0) fail("line %d: %s is not a register", line, name.c_str());
            made.destinations.push_back(destination);
        }
        made.width = kernel->widths[u32(made.destinations[0].slot)];
    }

    void add_sources(Instruction& made, const string& text) {
        const bool is_vector = text[0] == '{';
        for (const string& part : split(is_vector ? text.substr(1, text.size() - 2) : text, ','))
            made.sources.push_back(operand(part));
    }

    static bool has(const vector<string>& words, const char* word) {
        return std::find(words.begin(), words.end(), word) != words.end();
    }

    void set_access(Instruction& made, const vector<string>& words, Class global, Class shared) {
        const string& type = words.back();
        made.bytes = u8(bytes_of(type));
        made.is_signed = type[0] == 's';
        made.count = has(words, "v2") ? 2 : has(words, "v4") ? 4 : 1;
        made.is_volatile = has(words, "volatile") || has(words, "relaxed");
        made.is_read_only = has(words, "nc");
        if (made.count > 1 && has(words, "param")) fail("line %d: unknown instruction: %s", line, made.text.c_str());
        if (has(words, "global")) made.space = Space::GLOBAL;
        else if (has(words, "shared")) made.space = Space::SHARED;
        else if (has(words, "param")) made.space = Space::PARAMETERS;
        else fail("line %d: generic and local addresses are not known: %s", line, made.text.c_str());
        made.counted_as = made.space == Space::GLOBAL ? global : made.space == Space::SHARED ? shared : CONSTANT_LOAD;
    }

    static Class class_of(const vector<string>& words) {
        const string &base = words[0], &type = words.back();
        if (base == "cvt") return CONVERSION;
        if (base == "div" || base == "rem" || base == "sqrt") return DIVISION;
        if (base == "mov" || base == "cvta") return MOVE;
        if (base == "setp" || base == "selp" || type == "pred") return COMPARISON;
        return type == "f32" ? FLOAT32 : type == "f64" ? FLOAT64 : INTEGER;
    }

    void add_instruction(string text) {
        Instruction made;
        made.line = line;
        made.text = text;
        if (text[0] == '@') {
            const size_t space = text.find_first_of(BLANKS);
            made.guard_is_negated = text[1] == '!';
            made.guard = find_register(text.substr(made.guard_is_negated ? 2 : 1, space - (made.guard_is_negated ? 2 : 1)));
            if (made.guard < 0) fail("line %d: unknown predicate: %s", line, made.text.c_str());
            text = trim(text.substr(space));
        }
        const size_t space = text.find_first_of(BLANKS);
        const string operation = text.substr(0, space), rest = space == string::npos ? "" : trim(text.substr(space));
        const vector<string> words = split(operation, '.');
        for (const char* inexact : {"ftz", "approx", "full", "sat"})
            if (has(words, inexact)) fail("line %d: %s is not exact", line, operation.c_str());
        decode(made, operation, words, rest.empty() ? vector<string>() : split(rest, ','));
        kernel->code.push_back(made);
    }

    void decode(Instruction& made, const string& operation, const vector<string>& words, const vector<string>& parts) {
        const string& base = words[0];
        auto unknown = [&] { fail("line %d: unknown instruction: %s", line, made.text.c_str()); };
        if (base == "bra") {
            made.op = Op::BRANCH;
            made.counted_as = CONTROL;
            made.label = parts.at(0);
        } else if (base == "ret" || base == "exit" || base == "trap") {
            made.op = base == "trap" ? Op::TRAP : Op::EXIT;
            made.counted_as = CONTROL;
        } else if (base == "bar" || base == "barrier") {
            const bool is_warp = has(words, "warp");
            if (parts.size() != 1 || !has(words, "sync")) unknown();
            made.op = is_warp ? Op::WARP_BARRIER : Op::BLOCK_BARRIER;
            made.counted_as = BARRIER;
            add_sources(made, parts[0]);
        } else if (base == "membar" || base == "fence") {
            made.op = Op::FENCE;
            made.counted_as = BARRIER;
        } else if (base == "ld") {
            set_access(made, words, GLOBAL_LOAD, SHARED_LOAD);
            made.op = made.space == Space::PARAMETERS ? Op::PARAMETER : Op::LOAD;
            add_destinations(made, parts.at(0));
            add_sources(made, parts.at(1));
        } else if (base == "st") {
            set_access(made, words, GLOBAL_STORE, SHARED_STORE);
            made.op = Op::STORE;
            for (const string& part : parts) add_sources(made, part);
        } else if (base == "atom" || base == "red") {
            decode_atomic(made, words, parts);
        } else if (base == "shfl") {
            static const std::pair<const char*, Shuffle> kinds[] = {
                {"up", Shuffle::UP}, {"down", Shuffle::DOWN}, {"bfly", Shuffle::XOR}, {"idx", Shuffle::INDEX}};
            for (const auto& kind : kinds) if (has(words, kind.first)) made.mode = u8(kind.second);
            made.op = Op::SHUFFLE;
            made.counted_as = EXCHANGE;
            add_destinations(made, parts.at(0));
            for (size_t i = 1; i < parts.size(); i++) add_sources(made, parts[i]);
            if (made.sources.size() != 4) unknown();
        } else if (base == "vote") {
            made.mode = u8(has(words, "ballot") ? Vote::BALLOT : has(words, "any") ? Vote::ANY : Vote::ALL);
            made.op = Op::VOTE;
            made.counted_as = EXCHANGE;
            if (parts.size() != 3 || parts[1][0] == '!' || has(words, "uni")) unknown();
            add_destinations(made, parts[0]);
            for (size_t i = 1; i < parts.size(); i++) add_sources(made, parts[i]);
        } else {
            const PlainInstruction* const found = find_plain(operation);
            if (!found) unknown();
            made.execute = found->execute;
            made.mode = found->mode;
            made.counted_as = class_of(words);
            add_destinations(made, parts.at(0));
            for (size_t i = 1; i < parts.size(); i++) {
                const bool is_negated = parts[i][0] == '!';
                if (is_negated && (base != "setp" || i != 3)) unknown();
                if (is_negated) made.mode |= 4;  // see compare() in arithmetic.cpp
                add_sources(made, parts[i].substr(is_negated));
            }
        }
    }

    void decode_atomic(Instruction& made, const vector<string>& words, const vector<string>& parts) {
        static const std::pair<const char*, Atomic> kinds[] = {
            {"add", Atomic::ADD}, {"min", Atomic::MIN}, {"max", Atomic::MAX}, {"and", Atomic::AND}, {"or", Atomic::OR},
            {"xor", Atomic::XOR}, {"exch", Atomic::EXCHANGE}, {"cas", Atomic::COMPARE_AND_SWAP},
            {"inc", Atomic::INCREMENT}, {"dec", Atomic::DECREMENT}};
        set_access(made, words, GLOBAL_ATOMIC, SHARED_ATOMIC);
        made.op = Op::ATOMIC;
        bool is_known = false;
        for (const auto& kind : kinds)
            if (has(words, kind.first)) { made.atomic = kind.second; is_known = true; }
        if (!is_known || words.back()[0] == 'f') fail("line %d: unknown instruction: %s", line, made.text.c_str());
        size_t first = 0;
        if (words[0] == "atom") add_destinations(made, parts.at(first++));
        for (size_t i = first; i < parts.size(); i++) add_sources(made, parts[i]);
    }

    // ---- The text

    void read_header(const string& text) {
        if (text.find(".entry") != string::npos) begin_kernel(text);
        else if (text.find(".func") != string::npos) fail("line %d: functions are not known", line);
        else if (kernel && begins_with(text, ".param")) add_parameter(text);
        else if (kernel && begins_with(text, ".maxntid")) {
            kernel->max_threads = 1;
            for (const string& part : split(text.substr(8), ',')) kernel->max_threads *= u32(atoi(part.c_str()));
        } else if (begins_with(text, ".extern .shared")) {
            const size_t bracket = text.find('['), space = text.find_last_of(BLANKS, bracket);
            dynamic_alignment = alignment(text);
            dynamic_shared = trim(text.substr(space, bracket - space));
        }
    }

    void read_statement(const string& text) {
        if (begins_with(text, ".reg")) declare_registers(text);
        else if (begins_with(text, ".shared")) declare_shared(text);
        else if (begins_with(text, ".pragma") || begins_with(text, ".loc")) return;
        else if (text[0] == '.') fail("line %d: unknown declaration: %s", line, text.c_str());
        else {
            place_dynamic_shared();
            add_instruction(text);
        }
    }

    void end_kernel() {
        Instruction last;
        last.op = Op::EXIT;
        last.counted_as = CONTROL;
        last.line = line;
        last.text = "the end of the kernel";
        kernel->code.push_back(last);
        for (Instruction& each : kernel->code) {
            if (each.op != Op::BRANCH) continue;
            const auto found = labels.find(each.label);
            if (found == labels.end()) fail("line %d: no label %s", each.line, each.label.c_str());
            each.target = found->second;
        }
    }

    void read_text(const string& text) {
        bool is_body = false;
        string statement;
        for (size_t at = 0; at < text.size(); line++) {
            const size_t end = std::min(text.find('\n', at), text.size());
            string here = text.substr(at, end - at);
            at = end + 1;
            here = trim(here.substr(0, here.find("//")));
            if (here.empty()) continue;
            if (!is_body) {
                if (here == "{") is_body = true;
                else read_header(here);
            } else if (here == "}") {
                end_kernel();
                is_body = false;
            } else if (here == "{") {
                fail("line %d: nested scopes are not known", line);
            } else if (here[0] == '$' && here.back() == ':') {
                labels[here.substr(0, here.size() - 1)] = int(kernel->code.size());
            } else {
                statement += (statement.empty() ? "" : " ") + here;
                if (statement.back() != ';') continue;
                read_statement(trim(statement.substr(0, statement.size() - 1)));
                statement.clear();
            }
        }
    }
};

}  // namespace

std::unique_ptr<Module> parse(const string& text) {
    std::unique_ptr<Module> module(new Module());
    Parser(*module).read_text(text);
    return module;
}

}  // namespace ptx
