// SPDX-License-Identifier: Apache-2.0
#include "worker/upstream/orca.h"

#include "worker/upstream/varint.h"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstdint>

namespace ladle::worker {

namespace {

constexpr unsigned kMostLoadNesting = 8;

/// The figures that count, as a report gives them.
struct LoadFigures {
    double cpu = 0;
    double application = 0;
    double rps = 0;
    double eps = 0;

    /// False where the figure is none: not finite, or negative.
    bool set(double LoadFigures::*which, double value) noexcept
    {
        this->*which = value;
        return std::isfinite(value) && value >= 0;
    }
    shm::LoadWord load() const noexcept { return {application > 0 ? application : cpu, rps, eps}; }
};

/// One that counts: its name in text and in JSON (both are allowed there), and its number in the protobuf.
struct LoadFigureName {
    std::string_view name;
    std::string_view camel_name;
    std::uint64_t number;
    double LoadFigures::*figure;
};
constexpr LoadFigureName kLoadFigures[] = {{"cpu_utilization", "cpuUtilization", 1, &LoadFigures::cpu},
                                           {"rps_fractional", "rpsFractional", 6, &LoadFigures::rps},
                                           {"eps", "eps", 7, &LoadFigures::eps},
                                           {"application_utilization", "applicationUtilization", 9, &LoadFigures::application}};

const LoadFigureName* find_figure(std::string_view name) noexcept
{
    const auto* const found = std::find_if(std::begin(kLoadFigures), std::end(kLoadFigures),
                                           [name](const auto& one) { return one.name == name || one.camel_name == name; });
    return found == std::end(kLoadFigures) ? nullptr : found;
}

bool is_load_blank(char c) noexcept
{
    return c == ' ' || c == '\t';
}

std::string_view trimmed_load(std::string_view text) noexcept
{
    while (!text.empty() && is_load_blank(text.front())) {
        text.remove_prefix(1);
    }
    while (!text.empty() && is_load_blank(text.back())) {
        text.remove_suffix(1);
    }
    return text;
}

/// A number at the front of the text, which it is taken from. from_chars alone would take "inf", "nan" and "-.5", too.
bool take_number(std::string_view& text, double& value) noexcept
{
    const std::size_t digits = text.starts_with('-') ? 1 : 0;
    if (digits >= text.size() || text[digits] < '0' || text[digits] > '9') {
        return false;
    }
    const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    return code == std::errc();
}

std::optional<shm::LoadWord> parse_text(std::string_view text) noexcept
{
    LoadFigures figures;
    while (!text.empty()) {
        const std::string_view pair = trimmed_load(text.substr(0, text.find(',')));
        text.remove_prefix(std::min(text.find(','), text.size() - 1) + 1);
        const std::size_t equals = pair.find('=');
        if (equals == std::string_view::npos || equals == 0) {
            return std::nullopt;
        }
        std::string_view number = trimmed_load(pair.substr(equals + 1));
        double value = 0;
        if (!take_number(number, value) || !number.empty()) {
            return std::nullopt;
        }
        const LoadFigureName* known = find_figure(trimmed_load(pair.substr(0, equals)));
        if (known != nullptr && !figures.set(known->figure, value)) {
            return std::nullopt;
        }
    }
    return figures.load();
}

/// As much of JSON as a report needs, on what is left of the text.
class LoadJson {
public:
    explicit LoadJson(std::string_view text) noexcept : text_(text) {}

    std::optional<shm::LoadWord> read() noexcept
    {
        LoadFigures figures;
        if (!skip_object(&figures, 0)) {
            return std::nullopt;
        }
        skip_blanks();
        return text_.empty() ? std::optional(figures.load()) : std::nullopt;
    }

private:
    void skip_blanks() noexcept { text_ = text_.substr(std::min(text_.find_first_not_of(" \t\r\n"), text_.size())); }
    bool take(char c) noexcept
    {
        skip_blanks();
        const bool is_there = text_.starts_with(c);
        text_.remove_prefix(is_there ? 1 : 0);
        return is_there;
    }
    /// What stands between the quotes; escapes stay what they are, as no name that counts has any.
    bool take_string(std::string_view& into) noexcept
    {
        if (!take('"')) {
            return false;
        }
        for (std::size_t at = 0; at < text_.size(); ++at) {
            if (text_[at] == '"') {
                into = text_.substr(0, at);
                text_.remove_prefix(at + 1);
                return true;
            }
            at += text_[at] == '\\' ? 1 : 0;
        }
        return false;
    }
    bool take_literal(std::string_view literal) noexcept
    {
        const bool is_there = text_.starts_with(literal);
        text_.remove_prefix(is_there ? literal.size() : 0);
        return is_there;
    }
    bool skip_value(unsigned depth) noexcept
    {
        skip_blanks();
        std::string_view string;
        double number = 0;
        switch (text_.empty() ? '\0' : text_.front()) {
        case '"':
            return take_string(string);
        case '{':
            return skip_object(nullptr, depth + 1);
        case '[':
            return skip_array(depth + 1);
        default:
            return take_literal("true") || take_literal("false") || take_literal("null") || take_number(text_, number);
        }
    }
    bool skip_array(unsigned depth) noexcept
    {
        if (depth > kMostLoadNesting || !take('[')) {
            return false;
        }
        if (take(']')) {
            return true;
        }
        do {
            if (!skip_value(depth)) {
                return false;
            }
        } while (take(','));
        return take(']');
    }
    /// `into`: where members of the outermost object go.
    bool skip_object(LoadFigures* into, unsigned depth) noexcept
    {
        if (depth > kMostLoadNesting || !take('{')) {
            return false;
        }
        if (take('}')) {
            return true;
        }
        do {
            std::string_view name;
            if (!take_string(name) || !take(':')) {
                return false;
            }
            const LoadFigureName* known = into != nullptr ? find_figure(name) : nullptr;
            if (known == nullptr) {
                if (!skip_value(depth)) {
                    return false;
                }
                continue;
            }
            skip_blanks();
            double value = 0;
            if (!take_number(text_, value) || !into->set(known->figure, value)) {
                return false;
            }
        } while (take(','));
        return take('}');
    }

    std::string_view text_;
};

/// Of a character of base64, either alphabet; -1 for none.
int sextet(char c) noexcept
{
    if (c >= 'A' && c <= 'Z') {
        return c - 'A';
    }
    if (c >= 'a' && c <= 'z') {
        return c - 'a' + 26;
    }
    if (c >= '0' && c <= '9') {
        return c - '0' + 52;
    }
    return c == '+' || c == '-' ? 62 : c == '/' || c == '_' ? 63 : -1;
}

/// Bytes of protobuf, as far as they are needed: doubles and what can be passed over.
class LoadProtobuf {
public:
    explicit LoadProtobuf(std::string_view bytes) noexcept : bytes_(bytes) {}

    std::optional<shm::LoadWord> read() noexcept
    {
        LoadFigures figures;
        while (!bytes_.empty()) {
            std::uint64_t tag = 0;
            if (!take_varint(bytes_, tag) || !take_field(tag >> 3, static_cast<unsigned>(tag & 7), figures)) {
                return std::nullopt;
            }
        }
        return figures.load();
    }

private:
    bool skip(std::uint64_t count) noexcept
    {
        if (count > bytes_.size()) {
            return false;
        }
        bytes_.remove_prefix(static_cast<std::size_t>(count));
        return true;
    }
    bool take_field(std::uint64_t number, unsigned type, LoadFigures& figures) noexcept
    {
        std::uint64_t value = 0;
        switch (type) {
        case 0:
            return take_varint(bytes_, value);
        case 1:
            return take_double(number, figures);
        case 2:
            return take_varint(bytes_, value) && skip(value);
        case 5:
            return skip(4);
        default:
            return false;
        }
    }
    bool take_double(std::uint64_t number, LoadFigures& figures) noexcept
    {
        if (bytes_.size() < 8) {
            return false;
        }
        std::uint64_t bits = 0;
        for (unsigned at = 0; at < 8; ++at) {
            bits |= std::uint64_t{static_cast<unsigned char>(bytes_[at])} << (8 * at);
        }
        bytes_.remove_prefix(8);
        const auto* const known = std::find_if(std::begin(kLoadFigures), std::end(kLoadFigures),
                                               [number](const auto& one) { return one.number == number; });
        return known == std::end(kLoadFigures) || figures.set(known->figure, std::bit_cast<double>(bits));
    }

    std::string_view bytes_;
};

} // namespace

std::optional<shm::LoadWord> parse_binary_load_report(std::string_view base64) noexcept
{
    while (base64.ends_with('=')) { // padding may be left out
        base64.remove_suffix(1);
    }
    if (base64.size() > kMostLoadReport || base64.empty() || base64.size() % 4 == 1) {
        return std::nullopt;
    }
    std::array<char, kMostLoadReport> bytes;
    std::size_t size = 0;
    std::uint32_t bits = 0;
    unsigned count = 0;
    for (const char c : base64) {
        const int value = sextet(c);
        if (value < 0) {
            return std::nullopt;
        }
        bits = (bits << 6 | static_cast<std::uint32_t>(value)) & 0xffff;
        count += 6;
        if (count >= 8) {
            count -= 8;
            bytes[size++] = static_cast<char>(bits >> count & 0xff);
        }
    }
    return LoadProtobuf({bytes.data(), size}).read();
}

std::optional<shm::LoadWord> parse_load_report(std::string_view value) noexcept
{
    if (value.size() > kMostLoadReport) {
        return std::nullopt;
    }
    const std::string_view form = value.substr(0, value.find(' '));
    const std::string_view rest = trimmed_load(value.substr(form.size()));
    if (rest.empty()) {
        return std::nullopt;
    }
    return form == "TEXT"   ? parse_text(rest)
           : form == "JSON" ? LoadJson(rest).read()
           : form == "BIN"  ? parse_binary_load_report(rest)
                            : std::nullopt;
}

} // namespace ladle::worker
