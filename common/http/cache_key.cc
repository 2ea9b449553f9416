// SPDX-License-Identifier: Apache-2.0
#include "common/http/cache_key.h"

#include "common/http/target.h"

#include <algorithm>

namespace ladle::http {

namespace {

char to_upper(char c) noexcept
{
    return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c;
}

bool has_bad_percent(std::string_view text) noexcept
{
    for (std::size_t at = text.find('%'); at != std::string_view::npos; at = text.find('%', at + 1)) {
        if (at + 2 >= text.size() || !is_class(text[at + 1], kHexDigit) || !is_class(text[at + 2], kHexDigit)) {
            return true;
        }
    }
    return false;
}

/// RFC 3986 §6.2.2.1–2: percent-encoded unreserved characters are decoded, other encodings get upper-case digits. A text with a '%'
/// that encodes nothing stays as it is (a query may hold one): decoding what stands beside it could make two different texts equal.
void append_normalised(std::string_view text, std::string& out)
{
    std::size_t percent = text.find('%');
    if (percent == std::string_view::npos || has_bad_percent(text)) {
        out += text;
        return;
    }
    while (percent != std::string_view::npos) {
        out += text.substr(0, percent);
        const auto byte = static_cast<char>(hex_value(text[percent + 1]) * 16 + hex_value(text[percent + 2]));
        if (is_class(byte, kHost)) { // exactly the unreserved set
            out += byte;
        } else {
            out += '%';
            out += to_upper(text[percent + 1]);
            out += to_upper(text[percent + 2]);
        }
        text.remove_prefix(percent + 3);
        percent = text.find('%');
    }
    out += text;
}

/// Host in lower case, and the port unless it is empty or the scheme's own (RFC 3986 §6.2.3).
void append_authority(std::string_view scheme, std::string_view authority, std::string& out)
{
    const std::string_view host = host_of(authority);
    append_lowered(host, out);
    const std::string_view port = authority.substr(host.size()); // ":80", or empty
    const std::string_view usual = equals_ignoring_case(scheme, "https") ? ":443" : ":80";
    if (port.size() > 1 && port != usual) {
        out += port;
    }
}

bool is_wanted(std::string_view parameter, const KeyRules& rules) noexcept
{
    const std::string_view name = parameter.substr(0, parameter.find('='));
    const bool is_named = std::any_of(rules.query_patterns.begin(), rules.query_patterns.end(),
                                      [name](const std::string& pattern) { return fits_pattern(pattern, name); });
    return rules.query == QueryPart::all || is_named == (rules.query == QueryPart::only);
}

/// The wanted parameters, with '?' before the first. Empty ones ("a&&b") go.
void append_chosen_query(std::string_view query, const KeyRules& rules, std::string& out)
{
    std::string normalised;
    append_normalised(query, normalised);
    std::vector<std::string_view> parameters;
    std::string_view rest = normalised;
    while (!rest.empty()) {
        const std::size_t end = rest.find('&');
        const std::string_view parameter = rest.substr(0, end);
        rest = end == std::string_view::npos ? std::string_view{} : rest.substr(end + 1);
        if (!parameter.empty() && is_wanted(parameter, rules)) {
            parameters.push_back(parameter);
        }
    }
    if (rules.sorts_query) {
        std::stable_sort(parameters.begin(), parameters.end());
    }
    char before = '?';
    for (const std::string_view parameter : parameters) {
        out += before;
        out += parameter;
        before = '&';
    }
}

void append_query(const KeyTarget& target, const KeyRules& rules, std::string& out)
{
    if (!target.has_query || rules.query == QueryPart::none) {
        return;
    }
    if (rules.query != QueryPart::all || rules.sorts_query) {
        append_chosen_query(target.query, rules, out);
        return;
    }
    out += '?';
    append_normalised(target.query, out);
}

void append_header(const std::string& name, const Fields& request, std::string& out)
{
    out += '\n';
    out += name;
    const FieldName id = find_field_name(name);
    bool is_first = true;
    for (const Field& field : request) {
        if (!field.is_dropped && field.id == id && (id != FieldName::other || equals_ignoring_case(request.name(field), name))) {
            out += is_first ? ':' : ',';
            out += request.value(field);
            is_first = false;
        }
    }
}

void append_cookie(const std::string& name, const Fields& request, std::string& out)
{
    out += "\ncookie.";
    out += name;
    for (const Field& field : request) {
        if (field.id != FieldName::cookie) {
            continue;
        }
        std::string_view rest = request.value(field);
        while (!rest.empty()) {
            const std::size_t end = rest.find(';');
            const std::string_view pair = trim(rest.substr(0, end));
            rest = end == std::string_view::npos ? std::string_view{} : rest.substr(end + 1);
            const std::size_t equals = pair.find('=');
            if (equals != std::string_view::npos && pair.substr(0, equals) == name) {
                out += ':';
                out += pair.substr(equals + 1);
                return;
            }
        }
    }
}

/// "a,b*" → two patterns.
bool add_patterns(std::string_view list, std::vector<std::string>& out)
{
    std::string_view pattern;
    while (next_list_element(list, pattern)) {
        out.emplace_back(pattern);
    }
    return !out.empty();
}

/// One word of the setting; says what is wrong, or nothing.
std::string add_key_word(std::string_view word, KeyRules& rules)
{
    const std::size_t colon = word.find(':');
    const std::string_view kind = word.substr(0, colon);
    const std::string_view argument = colon == std::string_view::npos ? std::string_view{} : word.substr(colon + 1);
    const bool is_bare = colon == std::string_view::npos;
    if (is_bare && kind == "scheme") {
        rules.scheme = true;
    } else if (is_bare && kind == "host") {
        rules.host = true;
    } else if (is_bare && kind == "path") {
        rules.path = true;
    } else if (kind == "query" && (is_bare || argument == "sorted")) {
        rules.query = rules.query == QueryPart::none ? QueryPart::all : rules.query;
        rules.sorts_query = rules.sorts_query || !is_bare;
    } else if (kind == "query") {
        const bool is_except = argument.starts_with('!');
        if (!rules.query_patterns.empty() || !add_patterns(argument.substr(is_except ? 1 : 0), rules.query_patterns)) {
            return "one list of parameters belongs behind \"query:\"";
        }
        rules.query = is_except ? QueryPart::except : QueryPart::only;
    } else if (kind == "header" && is_token(argument)) {
        append_lowered(argument, rules.headers.emplace_back());
    } else if (kind == "cookie" && is_token(argument)) {
        rules.cookies.emplace_back(argument);
    } else {
        return "expected scheme, host, path, query, query:NAMES, query:!NAMES, query:sorted, header:NAME or cookie:NAME";
    }
    return {};
}

} // namespace

std::expected<KeyRules, std::string> parse_key_rules(const std::vector<std::string>& words)
{
    KeyRules rules;
    if (words.empty()) {
        return rules;
    }
    rules.scheme = rules.host = rules.path = false;
    rules.query = QueryPart::none;
    for (const std::string& word : words) {
        const std::string wrong = add_key_word(word, rules);
        if (!wrong.empty()) {
            return std::unexpected("\"" + word + "\": " + wrong);
        }
    }
    return rules;
}

void append_key(const KeyTarget& target, const Fields* request, const KeyRules& rules, std::string& out)
{
    if (rules.scheme) {
        append_lowered(target.scheme, out);
        out += ':';
    }
    if (rules.host) {
        out += "//";
        append_authority(target.scheme, target.authority, out);
    }
    if (rules.path) {
        append_normalised(target.path, out);
    }
    append_query(target, rules, out);
    if (request == nullptr) {
        return;
    }
    for (const std::string& name : rules.headers) {
        append_header(name, *request, out);
    }
    for (const std::string& name : rules.cookies) {
        append_cookie(name, *request, out);
    }
}

bool split_url(std::string_view url, KeyTarget& out) noexcept
{
    const std::size_t colon = url.find("://");
    if (colon == std::string_view::npos) {
        return false;
    }
    out.scheme = url.substr(0, colon);
    if (!equals_ignoring_case(out.scheme, "http") && !equals_ignoring_case(out.scheme, "https")) {
        return false;
    }
    std::string_view rest = url.substr(colon + 3);
    rest = rest.substr(0, rest.find('#'));
    const std::size_t end = std::min(rest.find_first_of("/?"), rest.size());
    out.authority = rest.substr(0, end);
    if (!is_authority(out.authority)) {
        return false;
    }
    rest.remove_prefix(end);
    const std::size_t mark = rest.find('?');
    out.has_query = mark != std::string_view::npos;
    out.query = out.has_query ? rest.substr(mark + 1) : std::string_view{};
    out.path = rest.substr(0, mark);
    if (out.path.empty()) {
        out.path = "/";
    }
    return true;
}

void append_url(const KeyTarget& target, std::string& out)
{
    append_key(target, nullptr, KeyRules{}, out);
}

bool fits_pattern(std::string_view pattern, std::string_view text) noexcept
{
    std::size_t p = 0;
    std::size_t t = 0;
    std::size_t star = std::string_view::npos; // the last '*', and where its share of the text ends
    std::size_t shared = 0;
    while (t < text.size()) {
        if (p < pattern.size() && pattern[p] == '*') {
            star = p++;
            shared = t;
        } else if (p < pattern.size() && pattern[p] == text[t]) {
            ++p;
            ++t;
        } else if (star != std::string_view::npos) {
            p = star + 1;
            t = ++shared;
        } else {
            return false;
        }
    }
    while (p < pattern.size() && pattern[p] == '*') {
        ++p;
    }
    return p == pattern.size();
}

} // namespace ladle::http
