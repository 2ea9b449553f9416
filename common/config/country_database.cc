// SPDX-License-Identifier: Apache-2.0
#include "common/config/country_database.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <optional>

namespace ladle::config {

namespace {

constexpr std::string_view kMark = "\xAB\xCD\xEFMaxMind.com";
constexpr std::size_t kMarkWithin = 128u << 10; // the metadata stands in the file's last part
constexpr std::size_t kGap = 16;                // zero bytes between the tree and the data
constexpr int kMostNested = 16;
constexpr int kMostValues = 4096; // looked at for one answer

enum ValueKind : unsigned { kPointer = 1, kText = 2, kMap = 7, kArray = 11, kBoolean = 14 };

/// Reads values of one section. After a failure every answer is empty.
class ValueReader {
public:
    ValueReader(std::string_view section, std::size_t at) noexcept : section_(section), at_(at) {}

    /// What begins where the reader stands. Pointers have been followed: `at` is where the content of the value stands.
    struct Value {
        unsigned kind = 0;
        std::size_t size = 0; ///< bytes; of a map and an array: members
        std::size_t at = 0;
    };

    /// The value here; the reader then stands behind it where it is no map and no array, at its content where it is one and not
    /// behind a pointer.
    std::optional<Value> read() noexcept
    {
        std::optional<Value> value = read_control();
        if (!value || value->kind != kPointer) {
            if (value && value->kind != kMap && value->kind != kArray && value->kind != kBoolean) {
                at_ = value->at + value->size;
            }
            return value;
        }
        ValueReader target(section_, value->size); // a pointer never leads to a pointer
        value = target.read_control();
        return value && value->kind != kPointer ? value : std::nullopt;
    }

    /// Passes by the value here, with all that is in it.
    bool skip(int depth = 0) noexcept
    {
        const std::optional<Value> value = read_control();
        if (!value || ++values_ > kMostValues || depth > kMostNested) {
            return false;
        }
        if (value->kind == kMap || value->kind == kArray) {
            for (std::size_t left = value->kind == kMap ? 2 * value->size : value->size; left > 0; --left) {
                if (!skip(depth + 1)) {
                    return false;
                }
            }
        } else if (value->kind != kPointer && value->kind != kBoolean) {
            at_ = value->at + value->size;
        }
        return true;
    }

    std::string_view text_of(const Value& value) const noexcept { return section_.substr(value.at, value.size); }

    /// Goes to the member `name` of a map; false where it has none.
    bool find(const Value& map, std::string_view name) noexcept
    {
        at_ = map.at;
        for (std::size_t left = map.kind == kMap ? map.size : 0; left > 0; --left) {
            const std::optional<Value> key = read();
            if (!key || key->kind != kText) {
                return false;
            }
            if (text_of(*key) == name) {
                return true;
            }
            if (!skip()) {
                return false;
            }
        }
        return false;
    }

private:
    std::optional<std::size_t> number(unsigned bytes) noexcept
    {
        if (bytes > section_.size() - std::min(at_, section_.size())) {
            return std::nullopt;
        }
        std::size_t out = 0;
        for (unsigned i = 0; i < bytes; ++i) {
            out = out << 8 | static_cast<unsigned char>(section_[at_++]);
        }
        return out;
    }

    /// The control bytes; of a pointer `size` is where it leads.
    std::optional<Value> read_control() noexcept
    {
        const auto first = number(1);
        if (!first) {
            return std::nullopt;
        }
        Value value{static_cast<unsigned>(*first >> 5), *first & 31u, 0};
        if (value.kind == kPointer) {
            constexpr std::size_t kBases[] = {0, 2048, 526'336, 0};
            const unsigned form = static_cast<unsigned>(*first >> 3) & 3u;
            const auto rest = number(form + 1);
            if (!rest) {
                return std::nullopt;
            }
            value.size = (form == 3 ? *rest : (*first & 7u) << 8 * (form + 1) | *rest) + kBases[form];
            return value;
        }
        if (value.kind == 0) {
            const auto extended = number(1);
            if (!extended) {
                return std::nullopt;
            }
            value.kind = static_cast<unsigned>(*extended) + 7;
        }
        if (value.size >= 29) {
            constexpr std::size_t kBases[] = {29, 285, 65'821};
            const std::size_t form = value.size - 29;
            const auto more = number(static_cast<unsigned>(form) + 1);
            if (!more) {
                return std::nullopt;
            }
            value.size = kBases[form] + *more;
        }
        value.at = at_;
        const bool has_bytes = value.kind != kMap && value.kind != kArray && value.kind != kBoolean;
        if (has_bytes && value.size > section_.size() - at_) {
            return std::nullopt;
        }
        return value;
    }

    std::string_view section_;
    std::size_t at_;
    int values_ = 0;
};

/// A number of the metadata; 0 where it is not there.
std::uint32_t metadata_number(std::string_view metadata, std::string_view name)
{
    ValueReader reader(metadata, 0);
    const auto map = reader.read();
    if (!map || !reader.find(*map, name)) {
        return 0;
    }
    const auto value = reader.read();
    std::uint32_t out = 0;
    for (const char c : value && value->size <= 4 ? reader.text_of(*value) : std::string_view()) {
        out = out << 8 | static_cast<unsigned char>(c);
    }
    return out;
}

Country as_country(std::string_view text) noexcept
{
    const auto is_capital = [](char c) { return c >= 'A' && c <= 'Z'; };
    return text.size() == 2 && is_capital(text[0]) && is_capital(text[1]) ? Country{text[0], text[1]} : Country{};
}

} // namespace

std::expected<std::shared_ptr<const CountryDatabase>, std::string> CountryDatabase::open(SharedText text)
{
    const std::string_view whole = text.text;
    const std::size_t mark = whole.rfind(kMark);
    if (mark == std::string_view::npos || whole.size() - mark > kMarkWithin) {
        return std::unexpected("it is no MaxMind DB file");
    }
    const std::string_view metadata = whole.substr(mark + kMark.size());
    const auto database = std::shared_ptr<CountryDatabase>(new CountryDatabase);
    database->nodes_ = metadata_number(metadata, "node_count");
    database->record_bits_ = metadata_number(metadata, "record_size");
    database->has_v6_ = metadata_number(metadata, "ip_version") == 6;
    const std::uint32_t version = metadata_number(metadata, "binary_format_major_version");
    const std::uint32_t bits = database->record_bits_;
    if (version != 2 || (bits != 24 && bits != 28 && bits != 32)) {
        return std::unexpected(
            fmt::format("its format is not one that Ladle knows (version {}, records of {} bits)", version, bits));
    }
    const std::size_t tree_bytes = std::size_t{database->nodes_} * bits / 4;
    if (database->nodes_ == 0 || tree_bytes + kGap > mark) {
        return std::unexpected("it is damaged: it is shorter than it says");
    }
    database->text_ = std::move(text);
    database->tree_ = whole.substr(0, tree_bytes);
    database->values_ = whole.substr(tree_bytes + kGap, mark - tree_bytes - kGap);
    if (database->has_v6_) {
        constexpr std::uint8_t kZeros[12] = {};
        database->v4_start_ = database->walk(0, kZeros, 96);
    }
    return database;
}

std::uint32_t CountryDatabase::record(std::uint32_t node, unsigned side) const noexcept
{
    const auto* bytes = reinterpret_cast<const unsigned char*>(tree_.data()) + std::size_t{node} * record_bits_ / 4;
    const auto take = [](const unsigned char* from, unsigned count) {
        std::uint32_t out = 0;
        for (unsigned i = 0; i < count; ++i) {
            out = out << 8 | from[i];
        }
        return out;
    };
    switch (record_bits_) {
    case 24: return take(bytes + 3 * side, 3);
    case 28: return side == 0 ? (bytes[3] & 0xF0u) << 20 | take(bytes, 3) : (bytes[3] & 0x0Fu) << 24 | take(bytes + 4, 3);
    default: return take(bytes + 4 * side, 4);
    }
}

/// Follows the bits as long as there are nodes.
std::uint32_t CountryDatabase::walk(std::uint32_t node, const std::uint8_t* bytes, unsigned bits) const noexcept
{
    for (unsigned bit = 0; bit < bits && node < nodes_; ++bit) {
        node = record(node, bytes[bit / 8] >> (7 - bit % 8) & 1u);
    }
    return node;
}

Country CountryDatabase::find(const std::array<std::uint8_t, 16>& address) const noexcept
{
    constexpr std::uint8_t kMapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF};
    const bool is_v4 = std::memcmp(address.data(), kMapped, sizeof kMapped) == 0;
    if (!is_v4 && !has_v6_) {
        return {};
    }
    const std::uint32_t end = is_v4 ? walk(v4_start_, &address[12], 32) : walk(0, address.data(), 128);
    if (end <= nodes_ || end - nodes_ < kGap || end - nodes_ - kGap >= values_.size()) {
        return {};
    }
    ValueReader reader(values_, end - nodes_ - kGap);
    const auto map = reader.read();
    if (!map) {
        return {};
    }
    for (const std::string_view name : {"country", "country_code"}) {
        const auto value = reader.find(*map, name) ? reader.read() : std::nullopt;
        if (!value) {
            continue;
        }
        if (value->kind == kText && as_country(reader.text_of(*value)) != Country{}) {
            return as_country(reader.text_of(*value));
        }
        if (value->kind == kMap && reader.find(*value, "iso_code")) {
            const auto code = reader.read();
            return code && code->kind == kText ? as_country(reader.text_of(*code)) : Country{};
        }
    }
    return {};
}

} // namespace ladle::config
