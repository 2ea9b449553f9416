// SPDX-License-Identifier: Apache-2.0
// Routes, rewrites and redirects: whatever the template and the path, what comes out is one path, or a URL whose host is the
// template's; groups of expressions find what each finds by itself.
#include "common/http/grammar.h"
#include "common/http/media_type.h"
#include "common/http/path_change.h"
#include "common/http/target.h"
#include "tests/fuzz/require.h"
#include "worker/route/router.h"

#include <string>

using namespace ladle;

namespace {

/// The next line of the input.
std::string_view take_line(std::string_view& rest)
{
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    const std::string_view line = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    return line;
}

void check_redirect(std::string_view text, const http::Expression& expression, std::string_view path, http::QueryText query)
{
    auto to = http::PathTemplate::parse(text, http::PathTemplate::For::redirect);
    if (!to || static_cast<int>(to->highest_capture()) > (expression ? expression->NumberOfCapturingGroups() : 0)) {
        return;
    }
    const std::string out = http::Redirection{expression, std::move(*to), 308}.apply(path, query);
    REQUIRE(http::all_class(out, http::kTarget) && out.substr(0, out.find('?')).find('\\') == std::string::npos);
    if (const std::size_t scheme = text.find("://"); !text.starts_with('/') && !text.starts_with('$')) {
        const std::size_t end = std::min(text.find_first_of("/?$", scheme + 3), text.size());
        REQUIRE(out.starts_with(text.substr(0, end)) && out.size() > end && out[end] == '/');
    } else {
        REQUIRE(out.starts_with('/') && !out.starts_with("//"));
    }
}

void check_rewrite(std::string_view text, const http::Expression& expression, std::string_view path, http::QueryText query)
{
    auto to = http::PathTemplate::parse(text, http::PathTemplate::For::rewrite);
    http::PathChange change{{}, expression, {}, true};
    std::string out;
    if (to && static_cast<int>(to->highest_capture()) <= (expression ? expression->NumberOfCapturingGroups() : 0)) {
        change.to = std::move(*to);
    } else {
        change = {std::string(text), nullptr, {}, false};
    }
    if (change.apply(path, query, out)) {
        const std::string changed = out.substr(0, out.find('?'));
        REQUIRE(changed.starts_with('/') && !changed.starts_with("//"));
        REQUIRE((changed + "/").find("/../") == std::string::npos && (changed + "/").find("/./") == std::string::npos);
        REQUIRE(http::all_class(out, http::kTarget));
    }
}

/// What the expression's beginning says is true of every path that it matches.
void check_beginning(std::string_view text, const RE2& expression, std::string_view path)
{
    if (RE2::FullMatch({path.data(), path.size()}, expression)) {
        REQUIRE(path.starts_with(worker::literal_beginning(text)));
    }
}

} // namespace

/// Lines: an expression, a template, a target; the rest is an Accept field.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size)
{
    std::string_view rest = text_of(bytes, size);
    const std::string_view pattern = take_line(rest);
    const std::string_view text = take_line(rest);
    const std::string_view target = take_line(rest);
    if (target.starts_with('/') && http::all_class(target, http::kTarget) && pattern.size() < 200) {
        const std::size_t mark = std::min(target.find('?'), target.size());
        std::string path;
        http::normalise_path(target.substr(0, mark), path);
        const http::QueryText query{target.substr(std::min(mark + 1, target.size())), mark < target.size()};
        RE2::Options options;
        options.set_log_errors(false);
        options.set_max_mem(1 << 20);
        http::Expression expression = std::make_shared<const RE2>(re2::StringPiece(pattern.data(), pattern.size()), options);
        if (!expression->ok()) {
            expression = nullptr;
        } else {
            check_beginning(pattern, *expression, path);
        }
        check_redirect(text, expression, path, query);
        check_rewrite(text, expression, path, query);
        (void)http::kind_of_path(path);
    }
    http::Fields fields;
    fields.rebase(rest.data());
    (void)fields.add({0, 0, http::FieldName::accept, false, 0, static_cast<std::uint32_t>(rest.size())});
    REQUIRE(http::named_quality(fields, "text/html") <= 1000 && http::named_quality(fields, "text/*") <= 1000);
    return 0;
}
