// SPDX-License-Identifier: Apache-2.0
#include "common/http/vary.h"

#include <algorithm>
#include <array>

namespace ladle::http {

namespace {

constexpr std::size_t kMostNames = 32;

/// A member of a weighted list. The weight counts thousandths, 0 to 1000.
struct Preference {
    std::string_view name;
    std::uint16_t weight = 1000;
};

constexpr std::size_t kMostPreferences = 64;

struct Preferences {
    std::array<Preference, kMostPreferences> items;
    std::size_t size = 0;
    Preference* begin() noexcept { return items.data(); }
    Preference* end() noexcept { return items.data() + size; }
};

bool is_less_ignoring_case(std::string_view a, std::string_view b) noexcept
{
    return std::lexicographical_compare(a.begin(), a.end(), b.begin(), b.end(),
                                        [](char x, char y) { return to_lower(x) < to_lower(y); });
}

/// RFC 9110 §12.4.2: "0", "0.5", "1.000"; -1 for anything else.
int parse_weight(std::string_view text) noexcept
{
    if (text.empty() || text.size() > 5 || (text[0] != '0' && text[0] != '1') || (text.size() > 1 && text[1] != '.')) {
        return -1;
    }
    int thousandths = (text[0] - '0') * 1000;
    int unit = 100;
    for (const char c : text.substr(std::min(text.size(), std::size_t{2}))) {
        if (!is_class(c, kDigit)) {
            return -1;
        }
        thousandths += (c - '0') * unit;
        unit /= 10;
    }
    return thousandths <= 1000 ? thousandths : -1;
}

/// Reads "gzip" or "gzip;q=0.5".
bool read_preference(std::string_view member, Preference& out) noexcept
{
    const std::size_t semicolon = member.find(';');
    out.name = trim(member.substr(0, semicolon));
    if (!is_token(out.name)) {
        return false;
    }
    if (semicolon == std::string_view::npos) {
        return true;
    }
    const std::string_view parameter = trim(member.substr(semicolon + 1));
    if (parameter.size() < 3 || to_lower(parameter[0]) != 'q' || parameter[1] != '=') {
        return false;
    }
    const int weight = parse_weight(parameter.substr(2));
    out.weight = static_cast<std::uint16_t>(std::max(weight, 0));
    return weight >= 0;
}

/// The registered aliases of RFC 9110 §8.4.1: equal by definition.
std::string_view without_alias(std::string_view coding) noexcept
{
    if (equals_ignoring_case(coding, "x-gzip")) {
        return "gzip";
    }
    return equals_ignoring_case(coding, "x-compress") ? std::string_view("compress") : coding;
}

bool read_preferences(std::string_view value, Preferences& out) noexcept
{
    std::string_view member;
    while (next_list_element(value, member)) {
        Preference preference;
        if (out.size == kMostPreferences || !read_preference(member, preference)) {
            return false;
        }
        preference.name = without_alias(preference.name);
        out.items[out.size++] = preference;
    }
    return true;
}

/// "name=value" pairs and free text keep their commas; in lists, white space around commas says nothing.
bool is_list(FieldName id) noexcept
{
    switch (id) {
    case FieldName::cookie:
    case FieldName::user_agent:
    case FieldName::authorization:
    case FieldName::referer:
    case FieldName::host:
    case FieldName::if_modified_since:
    case FieldName::if_unmodified_since:
    case FieldName::if_range:
        return false;
    default:
        return true;
    }
}

/// Commas outside quotes lose the white space around them, and empty members go.
void append_list(std::string_view value, std::string& out)
{
    bool is_quoted = false;
    std::size_t member = 0;
    bool is_first = true;
    const auto finish = [&](std::size_t end) {
        const std::string_view text = trim(value.substr(member, end - member));
        if (!text.empty()) {
            if (!is_first) {
                out += ',';
            }
            out += text;
            is_first = false;
        }
        member = end + 1;
    };
    for (std::size_t i = 0; i < value.size(); ++i) {
        if (is_quoted && value[i] == '\\') {
            ++i;
        } else if (value[i] == '"') {
            is_quoted = !is_quoted;
        } else if (value[i] == ',' && !is_quoted) {
            finish(i);
        }
    }
    finish(value.size());
}

/// Not one that the server is not sent: by that it cannot have chosen.
bool is_field(const Fields& fields, const Field& field, FieldName id, std::string_view name) noexcept
{
    return !field.is_dropped &&
           (id == FieldName::other ? field.id == id && equals_ignoring_case(fields.name(field), name) : field.id == id);
}

/// Appends the value of a field, joined if it stands several times, else as it is; false if it is absent.
bool append_joined(const Fields& request, FieldName id, std::string_view name, std::string& out)
{
    bool is_there = false;
    for (const Field& field : request) {
        if (is_field(request, field, id, name)) {
            if (is_there) {
                out += id == FieldName::cookie ? "; " : ", "; // RFC 9113 §8.2.3
            }
            out += request.value(field);
            is_there = true;
        }
    }
    return is_there;
}

void append_selected(std::string_view name, const Fields& request, Normalise normalise, std::string& out)
{
    out += name;
    const FieldName id = find_field_name(name);
    if (id != FieldName::other && !request.has(id)) {
        out += '\n';
        return;
    }
    out += ':';
    const std::size_t start = out.size();
    if (!append_joined(request, id, name, out)) {
        out.back() = '\n';
        return;
    }
    if (normalise == Normalise::yes) {
        const std::string value = out.substr(start);
        if (id == FieldName::accept_encoding || id == FieldName::accept_language) {
            out.resize(start);
            append_preferences(value, out);
        } else if (is_list(id) && value.find_first_of(",\"") != std::string::npos) {
            out.resize(start);
            append_list(value, out);
        }
    }
    out += '\n';
}

} // namespace

VaryKind read_vary(const Fields& response, std::string& out)
{
    out.clear();
    if (!response.has(FieldName::vary)) {
        return VaryKind::none;
    }
    std::array<std::string_view, kMostNames> names;
    std::size_t size = 0;
    for (const Field& field : response) {
        if (field.id != FieldName::vary) {
            continue;
        }
        std::string_view rest = response.value(field);
        std::string_view name;
        while (next_list_element(rest, name)) {
            if (name == "*" || !is_token(name) || size == names.size()) {
                return VaryKind::any;
            }
            names[size++] = name;
        }
    }
    std::sort(names.begin(), names.begin() + size, is_less_ignoring_case);
    const auto* const end = std::unique(names.begin(), names.begin() + size, equals_ignoring_case);
    for (const auto* name = names.begin(); name != end; ++name) {
        if (!out.empty()) {
            out += ',';
        }
        append_lowered(*name, out);
    }
    return out.empty() ? VaryKind::none : VaryKind::names;
}

void append_variant(std::string_view names, const Fields& request, Normalise normalise, std::string& out)
{
    std::string_view name;
    while (next_list_element(names, name)) {
        append_selected(name, request, normalise, out);
    }
}

void append_preferences(std::string_view value, std::string& out)
{
    Preferences preferences;
    if (!read_preferences(value, preferences)) {
        append_list(value, out);
        return;
    }
    std::sort(preferences.begin(), preferences.end(), [](const Preference& a, const Preference& b) {
        return a.weight != b.weight ? a.weight > b.weight : is_less_ignoring_case(a.name, b.name);
    });
    const Preference* previous = nullptr;
    for (const Preference& preference : preferences) {
        if (previous != nullptr) {
            if (preference.weight == previous->weight && equals_ignoring_case(preference.name, previous->name)) {
                continue;
            }
            out += preference.weight < previous->weight && preference.weight > 0 ? '>' : ',';
        }
        if (preference.weight == 0) {
            out += '!';
        }
        append_lowered(preference.name, out);
        previous = &preference;
    }
}

} // namespace ladle::http
