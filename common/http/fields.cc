// SPDX-License-Identifier: Apache-2.0
#include "common/http/fields.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace ladle::http {

namespace {

constexpr std::string_view kSpellings[] = {
    "",
#define LADLE_FIELD_SPELLING(identifier, text) text,
    LADLE_FIELD_NAMES(LADLE_FIELD_SPELLING)
#undef LADLE_FIELD_SPELLING
};

constexpr std::size_t kTableSize = 256;

constexpr std::size_t hash_name(std::string_view name) noexcept
{
    const auto first = static_cast<unsigned>(name.front() | 0x20);
    const auto last = static_cast<unsigned>(name.back() | 0x20);
    const auto middle = static_cast<unsigned>(name[name.size() / 2] | 0x20);
    return (name.size() * 31 + first * 22 + last * 4 + middle * 29) % kTableSize; // found by trial: no two of the names meet
}

/// Open addressing, built at compile time; a name not in it meets an empty place or a different length at once.
constexpr std::array<std::uint8_t, kTableSize> make_table()
{
    std::array<std::uint8_t, kTableSize> table{};
    for (std::size_t id = 1; id < std::size(kSpellings); ++id) {
        std::size_t at = hash_name(kSpellings[id]);
        while (table[at] != 0) {
            at = (at + 1) % kTableSize;
        }
        table[at] = static_cast<std::uint8_t>(id);
    }
    return table;
}

/// Some of its letters, in lower case.
template <typename Word>
Word load(const char* at) noexcept
{
    Word word = 0;
    std::memcpy(&word, at, sizeof word);
    return word | static_cast<Word>(0x2020202020202020);
}

/// Whether a token spells a known name. Known names are letters, digits and '-': among tokens, only their own upper case becomes
/// equal to them by setting the bit 0x20, so eight bytes compare at once.
bool is_same_name(std::string_view known, std::string_view token) noexcept
{
    if (known.size() != token.size()) {
        return false;
    }
    if (known.size() < sizeof(std::uint32_t)) {
        for (std::size_t i = 0; i < known.size(); ++i) {
            if ((known[i] | 0x20) != (token[i] | 0x20)) {
                return false;
            }
        }
        return true;
    }
    if (known.size() < sizeof(std::uint64_t)) {
        return load<std::uint32_t>(known.data()) == load<std::uint32_t>(token.data()) &&
               load<std::uint32_t>(known.end() - 4) == load<std::uint32_t>(token.end() - 4);
    }
    for (std::size_t i = 0; i + sizeof(std::uint64_t) < known.size(); i += sizeof(std::uint64_t)) {
        if (load<std::uint64_t>(known.data() + i) != load<std::uint64_t>(token.data() + i)) {
            return false;
        }
    }
    return load<std::uint64_t>(known.end() - 8) == load<std::uint64_t>(token.end() - 8);
}

constexpr auto kTable = make_table();
static_assert(std::size(kSpellings) <= 64, "Fields::known_ is a 64-bit set");

} // namespace

FieldName find_field_name(std::string_view name) noexcept
{
    if (name.empty()) {
        return FieldName::other;
    }
    for (std::size_t at = hash_name(name); kTable[at] != 0; at = (at + 1) % kTableSize) {
        if (is_same_name(kSpellings[kTable[at]], name)) {
            return static_cast<FieldName>(kTable[at]);
        }
    }
    return FieldName::other;
}

std::string_view spelling(FieldName id) noexcept
{
    return kSpellings[static_cast<std::size_t>(id)];
}

void Fields::grow()
{
    const std::size_t grown = std::min(capacity_ * 4, std::max(limit_, capacity_ + 1));
    auto larger = std::make_unique_for_overwrite<Field[]>(grown);
    std::copy(begin(), end(), larger.get());
    heap_ = std::move(larger);
    capacity_ = grown;
}

const Field* Fields::find(FieldName id) const noexcept
{
    if (!has(id)) {
        return nullptr;
    }
    return std::find_if(begin(), end(), [id](const Field& f) { return f.id == id; });
}

const Field* Fields::find(std::string_view wanted) const noexcept
{
    const auto* found = std::find_if(begin(), end(), [&](const Field& f) { return equals_ignoring_case(name(f), wanted); });
    return found == end() ? nullptr : found;
}

std::size_t Fields::count(FieldName id) const noexcept
{
    return has(id) ? static_cast<std::size_t>(std::count_if(begin(), end(), [id](const Field& f) { return f.id == id; })) : 0;
}

std::string_view Fields::value_of(FieldName id) const noexcept
{
    const Field* field = find(id);
    return field == nullptr ? std::string_view{} : value(*field);
}

bool Fields::list_has(FieldName id, std::string_view wanted) const noexcept
{
    if (!has(id)) {
        return false;
    }
    for (const Field& field : *this) {
        if (field.id != id) {
            continue;
        }
        std::string_view rest = value(field);
        std::string_view element;
        while (next_list_element(rest, element)) {
            if (equals_ignoring_case(element, wanted)) {
                return true;
            }
        }
    }
    return false;
}

} // namespace ladle::http
