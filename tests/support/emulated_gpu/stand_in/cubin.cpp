#include "cubin.h"

#include <elf.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

namespace emulated {

namespace {

constexpr u32 CUDA_INFO = 0x70000000;         // type of the sections .nv.info
constexpr u8 SIZED_RECORD = 4, REGISTERS = 0x2f;  // of a record there: its form, and its meaning
constexpr u8 ABI_WITH_SHIFTED_ARCHITECTURE = 8;

const Elf64_Ehdr& header_of(const u8* image) { return *reinterpret_cast<const Elf64_Ehdr*>(image); }
const Elf64_Shdr* sections_of(const u8* image) {
    return reinterpret_cast<const Elf64_Shdr*>(image + header_of(image).e_shoff);
}

}  // namespace

bool is_cubin(const u8* image) { return !memcmp(image, ELFMAG, SELFMAG); }

u32 architecture_of(const u8* image) {
    const u32 flags = header_of(image).e_flags;
    return (header_of(image).e_ident[EI_ABIVERSION] >= ABI_WITH_SHIFTED_ARCHITECTURE ? flags >> 8 : flags) & 0xff;
}

std::map<string, u32> registers_of(const u8* image) {
    const Elf64_Shdr* const sections = sections_of(image);
    std::map<string, u32> found;
    for (u32 i = 0; i < header_of(image).e_shnum; i++) {
        const Elf64_Shdr& section = sections[i];
        if (section.sh_type != CUDA_INFO || section.sh_info != 0) continue;  // sh_info: the kernel, 0: all of them
        const Elf64_Shdr& symbols = sections[section.sh_link];
        const char* const names = reinterpret_cast<const char*>(image + sections[symbols.sh_link].sh_offset);
        // A record: its form, its meaning, a size of 16 bits, and, if sized, as many bytes: a symbol and a number.
        const u8* record = image + section.sh_offset;
        for (const u8* const end = record + section.sh_size; record + 4 <= end;) {
            u16 size;
            memcpy(&size, record + 2, 2);
            if (record[0] == SIZED_RECORD && record[1] == REGISTERS) {
                u32 symbol, number;
                memcpy(&symbol, record + 4, 4);
                memcpy(&number, record + 8, 4);
                const auto* const all = reinterpret_cast<const Elf64_Sym*>(image + symbols.sh_offset);
                found[names + all[symbol].st_name] = number;
            }
            record += 4 + (record[0] == SIZED_RECORD ? size : 0);
        }
    }
    return found;
}

string digest_of(const u8* image) {
    const Elf64_Ehdr& header = header_of(image);
    u64 end = std::max(header.e_shoff + u64(header.e_shentsize) * header.e_shnum,
                       header.e_phoff + u64(header.e_phentsize) * header.e_phnum);
    for (u32 i = 0; i < header.e_shnum; i++) {
        const Elf64_Shdr& section = sections_of(image)[i];
        if (section.sh_type != SHT_NOBITS) end = std::max<u64>(end, section.sh_offset + section.sh_size);
    }
    u64 digest = 14695981039346656037ull;  // FNV-1a
    for (u64 i = 0; i + 1 < end; i++) digest = (digest ^ image[i]) * 1099511628211ull;
    char text[17];
    snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(digest));
    return text;
}

}  // namespace emulated
