// SPDX-License-Identifier: Apache-2.0
#include "common/http/cache_control.h"

namespace ladle::http {

namespace {

enum class Form : std::uint8_t {
    bare, ///< no argument
    token,
    quoted,
    malformed ///< neither; also spaces around '=', an open quote
};

struct Directive {
    std::string_view name;     ///< the token it begins with
    std::string_view argument; ///< without quotes
    Form form = Form::bare;
    bool is_unterminated = false;
    std::string_view text; ///< all of it
};

/// Where the directive that `rest` begins with ends: at a comma outside quotes. Sets `is_open` if a quote is not closed; the comma
/// is then the first.
std::size_t find_end(std::string_view rest, bool& is_open) noexcept
{
    bool is_quoted = false;
    for (std::size_t i = 0; i < rest.size(); ++i) {
        if (is_quoted && rest[i] == '\\') {
            ++i;
        } else if (rest[i] == '"') {
            is_quoted = !is_quoted;
        } else if (rest[i] == ',' && !is_quoted) {
            return i;
        }
    }
    is_open = is_quoted;
    return is_quoted ? rest.find(',') : rest.size();
}

std::string_view leading_token(std::string_view text) noexcept
{
    std::size_t size = 0;
    while (size < text.size() && is_class(text[size], kToken)) {
        ++size;
    }
    return text.substr(0, size);
}

Directive split_directive(std::string_view text) noexcept
{
    Directive directive;
    directive.text = text;
    directive.name = leading_token(text);
    std::string_view rest = text.substr(directive.name.size());
    if (rest.empty()) {
        return directive;
    }
    directive.form = Form::malformed;
    if (rest.front() != '=' || directive.name.empty()) {
        return directive;
    }
    rest.remove_prefix(1);
    if (is_token(rest)) {
        directive.form = Form::token;
        directive.argument = rest;
    } else if (rest.size() >= 2 && rest.front() == '"' && rest.find('"', 1) == rest.size() - 1 &&
               rest.find('\\') == std::string_view::npos) {
        directive.form = Form::quoted; // one with escapes holds no number and no field name
        directive.argument = rest.substr(1, rest.size() - 2);
    }
    return directive;
}

/// Takes the next directive off a field line; empty ones are skipped. False at the end.
bool next_directive(std::string_view& rest, Directive& directive) noexcept
{
    while (!rest.empty()) {
        bool is_open = false;
        const std::size_t end = find_end(rest, is_open);
        const std::string_view text = trim(rest.substr(0, end));
        rest = end < rest.size() ? rest.substr(end + 1) : std::string_view{};
        if (!text.empty()) {
            directive = split_directive(text);
            directive.is_unterminated = is_open;
            return true;
        }
    }
    return false;
}

bool is_named(const Directive& directive, std::string_view name) noexcept
{
    return equals_ignoring_case(directive.name, name);
}

bool is_argument_free(const Directive& directive) noexcept
{
    return directive.form == Form::bare;
}

Seconds seconds_of(std::string_view digits) noexcept
{
    if (digits.empty() || !all_class(digits, kDigit)) {
        return Seconds::invalid();
    }
    const auto value = parse_decimal(digits);
    return Seconds(value ? static_cast<std::int64_t>(*value) : Seconds::kMost);
}

Seconds argument_seconds(const Directive& directive) noexcept
{
    return directive.form == Form::token || directive.form == Form::quoted ? seconds_of(directive.argument) : Seconds::invalid();
}

/// Of a directive that makes a response fresh: two different values make it stale.
void add_freshness(Seconds& to, const Directive& directive) noexcept
{
    const Seconds value = argument_seconds(directive);
    to = !to.is_given() || to == value ? value : Seconds::invalid();
}

/// Of a directive that permits: nonsense counts as absent, the smaller of two values counts.
void add_permission(Seconds& to, const Directive& directive) noexcept
{
    const Seconds value = argument_seconds(directive);
    if (value.is_valid() && (!to.is_given() || value.value_or(0) < to.value_or(0))) {
        to = value;
    }
}

/// no-cache and private: with field names they forbid less.
void add_restriction(bool& whole, FieldList& fields, const Directive& directive) noexcept
{
    const bool has_names = directive.form == Form::token || directive.form == Form::quoted;
    if (!has_names || !fields.add(directive.argument)) {
        whole = true;
    }
}

/// What forbids is honoured wherever it stands in a directive that we cannot read: "max-age=1 no-store", "a;private".
void add_from_malformed(std::string_view text, ResponseDirectives& out) noexcept
{
    while (!text.empty()) {
        const std::string_view word = leading_token(text);
        out.no_store = out.no_store || equals_ignoring_case(word, "no-store");
        out.no_cache = out.no_cache || equals_ignoring_case(word, "no-cache");
        out.is_private = out.is_private || equals_ignoring_case(word, "private");
        text.remove_prefix(word.empty() ? 1 : word.size());
    }
}

void add_directive(const Directive& directive, ResponseDirectives& out) noexcept
{
    if (is_named(directive, "max-age")) {
        add_freshness(out.max_age, directive);
    } else if (is_named(directive, "s-maxage")) {
        add_freshness(out.s_maxage, directive);
    } else if (is_named(directive, "no-store")) {
        out.no_store = true;
    } else if (is_named(directive, "no-cache")) {
        add_restriction(out.no_cache, out.no_cache_fields, directive);
    } else if (is_named(directive, "private")) {
        add_restriction(out.is_private, out.private_fields, directive);
    } else if (is_named(directive, "public")) {
        out.is_public = out.is_public || is_argument_free(directive);
    } else if (is_named(directive, "must-revalidate")) {
        out.must_revalidate = true;
    } else if (is_named(directive, "proxy-revalidate")) {
        out.proxy_revalidate = true;
    } else if (is_named(directive, "must-understand")) {
        out.must_understand = out.must_understand || is_argument_free(directive);
    } else if (is_named(directive, "no-transform")) {
        out.no_transform = true;
    } else if (is_named(directive, "immutable")) {
        out.immutable = out.immutable || is_argument_free(directive);
    } else if (is_named(directive, "stale-while-revalidate")) {
        add_permission(out.stale_while_revalidate, directive);
    } else if (is_named(directive, "stale-if-error")) {
        add_permission(out.stale_if_error, directive);
    }
}

void add_directive(const Directive& directive, RequestDirectives& out) noexcept
{
    if (is_named(directive, "max-age")) {
        const Seconds value = argument_seconds(directive);
        const bool is_smaller = value.value_or(0) < out.max_age.value_or(0);
        out.max_age = !out.max_age.is_given() || is_smaller ? value : out.max_age;
    } else if (is_named(directive, "no-cache")) {
        out.no_cache = true;
    } else if (is_named(directive, "no-store")) {
        out.no_store = true;
    } else if (is_named(directive, "max-stale")) {
        out.any_stale = out.any_stale || is_argument_free(directive);
        add_permission(out.max_stale, directive);
    } else if (is_named(directive, "min-fresh")) {
        const Seconds value = argument_seconds(directive);
        out.min_fresh = value.is_valid() && value.value_or(0) > out.min_fresh.value_or(-1) ? value : out.min_fresh;
    } else if (is_named(directive, "only-if-cached")) {
        out.only_if_cached = true;
    } else if (is_named(directive, "no-transform")) {
        out.no_transform = true;
    } else if (is_named(directive, "stale-if-error")) {
        add_permission(out.stale_if_error, directive);
    }
}

/// The parts of a Surrogate-Control directive: "max-age=60;ladle".
struct Targeted {
    std::string_view directive;
    std::string_view target; ///< empty: for everybody
};

Targeted split_target(std::string_view text) noexcept
{
    const std::size_t last_quote = text.rfind('"');
    const std::size_t semicolon = text.find(';', last_quote == std::string_view::npos ? 0 : last_quote);
    if (semicolon == std::string_view::npos) {
        return {text, {}};
    }
    const std::string_view target = trim(text.substr(semicolon + 1));
    return {trim(text.substr(0, semicolon)), target.empty() ? std::string_view(";") : target};
}

/// Adds what the directives for `target` say; whether there was one that we know.
bool read_surrogate(const Fields& response, std::string_view target, ResponseDirectives& out) noexcept
{
    bool is_said = false;
    for (const Field& field : response) {
        if (field.id != FieldName::surrogate_control) {
            continue;
        }
        std::string_view rest = response.value(field);
        Directive directive;
        while (next_directive(rest, directive)) {
            const Targeted targeted = split_target(directive.text);
            if (!equals_ignoring_case(targeted.target, target)) {
                continue;
            }
            directive = split_directive(targeted.directive);
            if (is_named(directive, "no-store")) {
                out.no_store = is_said = true;
            } else if (is_named(directive, "max-age")) {
                const std::string_view argument = directive.form == Form::token ? directive.argument : std::string_view{};
                const std::size_t plus = argument.find('+');
                const Seconds value = seconds_of(argument.substr(0, plus));
                out.max_age = !out.max_age.is_given() || out.max_age == value ? value : Seconds::invalid();
                if (plus != std::string_view::npos && value.is_valid()) {
                    const Seconds more = seconds_of(argument.substr(plus + 1));
                    out.stale_while_revalidate = out.stale_if_error = more.is_valid() ? more : Seconds();
                }
                is_said = true;
            }
        }
    }
    return is_said;
}

} // namespace

bool FieldList::add(std::string_view names) noexcept
{
    std::string_view rest = names;
    std::string_view name;
    bool has_any = false;
    while (next_list_element(rest, name)) {
        if (!is_token(name)) {
            return false;
        }
        has_any = true;
    }
    if (!has_any || count_ == texts_.size()) {
        return false;
    }
    texts_[count_++] = names;
    return true;
}

bool FieldList::has(std::string_view wanted) const noexcept
{
    for (std::size_t i = 0; i < count_; ++i) {
        std::string_view rest = texts_[i];
        std::string_view name;
        while (next_list_element(rest, name)) {
            if (equals_ignoring_case(name, wanted)) {
                return true;
            }
        }
    }
    return false;
}

void read_cache_control(std::string_view line, ResponseDirectives& out) noexcept
{
    Directive directive;
    while (next_directive(line, directive)) {
        add_directive(directive, out);
        if (directive.form == Form::malformed) {
            add_from_malformed(directive.text, out);
        }
        if (directive.is_unterminated) { // what follows may have been meant to be inside the quotes
            out.max_age = out.s_maxage = Seconds::invalid();
        }
    }
}

void read_cache_control(std::string_view line, RequestDirectives& out) noexcept
{
    Directive directive;
    while (next_directive(line, directive)) {
        add_directive(directive, out);
    }
}

RequestDirectives request_directives(const Fields& request) noexcept
{
    RequestDirectives directives;
    if (request.has(FieldName::cache_control)) {
        for (const Field& field : request) {
            if (field.id == FieldName::cache_control) {
                read_cache_control(request.value(field), directives);
            }
        }
    } else if (request.has(FieldName::pragma)) {
        directives.no_cache = request.list_has(FieldName::pragma, "no-cache");
    }
    return directives;
}

bool read_surrogate_control(const Fields& response, ResponseDirectives& out) noexcept
{
    if (!response.has(FieldName::surrogate_control)) {
        return false;
    }
    ResponseDirectives ours;
    if (read_surrogate(response, kSurrogateName, ours)) {
        out = ours;
        return true;
    }
    return read_surrogate(response, {}, out);
}

Policy find_policy(const Fields& response) noexcept
{
    Policy policy;
    if (response.has(FieldName::cdn_cache_control) && read_cdn_cache_control(response, policy.directives)) {
        policy.governor = Governor::cdn_cache_control;
        return policy;
    }
    policy.directives = {};
    if (read_surrogate_control(response, policy.directives)) {
        policy.governor = Governor::surrogate_control;
        return policy;
    }
    policy.directives = {};
    if (response.has(FieldName::cache_control)) {
        policy.governor = Governor::cache_control;
        for (const Field& field : response) {
            if (field.id == FieldName::cache_control) {
                read_cache_control(response.value(field), policy.directives);
            }
        }
    }
    return policy;
}

} // namespace ladle::http
