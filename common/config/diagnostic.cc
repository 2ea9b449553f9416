// SPDX-License-Identifier: Apache-2.0
#include "common/config/diagnostic.h"

#include "common/base/json.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <tuple>

namespace ladle::config {

namespace {

constexpr std::size_t kMaxShownColumns = 160;
constexpr std::size_t kMaxMessageBytes = 600;

/// Byte offset of the n-th character (from 0) of a UTF-8 text; the length if there are fewer.
std::size_t character_offset(std::string_view text, std::size_t n)
{
    std::size_t at = 0;
    while (at < text.size() && n > 0) {
        ++at;
        while (at < text.size() && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) {
            ++at;
        }
        --n;
    }
    return at;
}

/// Control characters would let a file write to the terminal that shows its errors.
std::string printable(std::string_view text)
{
    std::string out;
    out.reserve(text.size());
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        out += (byte < 0x20 && c != '\t') || byte == 0x7F ? '?' : c;
    }
    return out;
}

/// A value of a megabyte has no place in a message.
void shorten(std::string& text)
{
    if (text.size() > kMaxMessageBytes) {
        std::size_t end = kMaxMessageBytes;
        while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) {
            --end;
        }
        text.resize(end);
        text += "...";
    }
}

struct Shown {
    std::string line;
    std::string padding; ///< up to the caret: tabs stay tabs, so that the caret stands where the line's character stands
    std::size_t width = 1;
};

Shown shown_line(const Diagnostic& diagnostic)
{
    const std::string_view source = diagnostic.source_line;
    const std::size_t column = std::max<std::uint32_t>(diagnostic.column, 1) - 1;
    std::size_t first = 0;
    std::string_view lead;
    if (column > kMaxShownColumns / 2) {
        const std::size_t total = character_offset(source, column + kMaxShownColumns / 2);
        if (total > kMaxShownColumns) {
            first = column - kMaxShownColumns / 4;
            lead = "... ";
        }
    }
    const std::size_t from = character_offset(source, first);
    const std::size_t to = from + character_offset(source.substr(from), kMaxShownColumns);
    const std::size_t caret = std::min(from + character_offset(source.substr(from), column - first), to);

    Shown shown;
    shown.line = std::string(lead) + printable(source.substr(from, to - from)) + (to < source.size() ? " ..." : "");
    shown.padding = std::string(lead.size(), ' ');
    for (std::size_t at = from; at < caret; ++at) {
        if ((static_cast<unsigned char>(source[at]) & 0xC0) != 0x80) {
            shown.padding += source[at] == '\t' ? '\t' : ' ';
        }
    }
    shown.padding.append(column - first > kMaxShownColumns ? 1 : 0, ' ');
    const std::size_t left = kMaxShownColumns - std::min(kMaxShownColumns, column - first);
    shown.width = std::clamp<std::size_t>(diagnostic.width, 1, std::max<std::size_t>(left, 1));
    return shown;
}

const char* name_of(Severity severity)
{
    return severity == Severity::error ? "error" : "warning";
}

/// Text from a file goes into JSON as valid UTF-8 whatever the file holds.
nlohmann::json to_json_object(const Diagnostic& diagnostic)
{
    return {{"severity", name_of(diagnostic.severity)},
            {"file", diagnostic.file},
            {"line", diagnostic.line},
            {"column", diagnostic.column},
            {"width", diagnostic.width},
            {"message", diagnostic.message},
            {"hint", diagnostic.hint},
            {"key_path", diagnostic.key_path},
            {"source_line", diagnostic.source_line}};
}

} // namespace

std::uint32_t Findings::add_file(std::string name, std::string text)
{
    files_.push_back({std::move(name), std::move(text), {}});
    return static_cast<std::uint32_t>(files_.size() - 1);
}

std::string Findings::where(const Place& place) const
{
    return fmt::format("{}:{}:{}", files_[place.file].name, place.line, place.column);
}

std::string Findings::source_line(std::uint32_t file, std::uint32_t line)
{
    File& of = files_[file];
    if (of.line_starts.empty()) {
        of.line_starts.push_back(0);
        for (std::size_t at = of.text.find('\n'); at != std::string::npos; at = of.text.find('\n', at + 1)) {
            of.line_starts.push_back(at + 1);
        }
    }
    if (line == 0 || line > of.line_starts.size()) {
        return {};
    }
    const std::size_t start = of.line_starts[line - 1];
    std::string text = of.text.substr(start, of.text.find('\n', start) - start);
    if (text.ends_with('\r')) {
        text.pop_back();
    }
    return text;
}

void Findings::add(Severity severity, const Place& place, std::string key_path, std::string message, std::string hint)
{
    errors_ += severity == Severity::error ? 1 : 0;
    warnings_ += severity == Severity::warning ? 1 : 0;
    if ((severity == Severity::error ? errors_ : warnings_) > kMaxFindings) {
        return;
    }
    shorten(message);
    shorten(hint);
    std::string line = source_line(place.file, place.line);
    found_.push_back({place, Diagnostic{severity, files_[place.file].name, place.line, place.column, place.width,
                                        std::move(message), std::move(hint), std::move(key_path), std::move(line)}});
}

void Findings::error(const Place& place, std::string key_path, std::string message, std::string hint)
{
    add(Severity::error, place, std::move(key_path), std::move(message), std::move(hint));
}

void Findings::warning(const Place& place, std::string key_path, std::string message, std::string hint)
{
    add(Severity::warning, place, std::move(key_path), std::move(message), std::move(hint));
}

std::vector<Diagnostic> Findings::take()
{
    std::stable_sort(found_.begin(), found_.end(), [](const Found& a, const Found& b) {
        return std::tie(a.place.file, a.place.line, a.place.column) < std::tie(b.place.file, b.place.line, b.place.column);
    });
    std::vector<Diagnostic> out;
    out.reserve(found_.size() + 1);
    for (Found& found : found_) {
        out.push_back(std::move(found.diagnostic));
    }
    if (errors_ > kMaxFindings || warnings_ > kMaxFindings) {
        Diagnostic more;
        more.severity = errors_ > kMaxFindings ? Severity::error : Severity::warning;
        more.file = files_.empty() ? std::string() : files_.front().name;
        more.message = fmt::format("there is more: only the first {} are shown", kMaxFindings);
        out.push_back(std::move(more));
    }
    found_.clear();
    return out;
}

std::string to_text(const Diagnostic& diagnostic)
{
    const std::string message = printable(diagnostic.message);
    const std::string hint = printable(diagnostic.hint);
    if (diagnostic.line == 0) {
        std::string out = fmt::format("{}: {}: {}\n", diagnostic.file, name_of(diagnostic.severity), message);
        if (!hint.empty()) {
            out += fmt::format("      | {}\n", hint);
        }
        return out;
    }
    const Shown shown = shown_line(diagnostic);
    std::string out = fmt::format("{}:{}:{}: {}: {}\n", diagnostic.file, diagnostic.line, diagnostic.column,
                                  name_of(diagnostic.severity), message);
    out += fmt::format("{:>5} | {}\n", diagnostic.line, shown.line);
    out += fmt::format("      | {}{}{}{}\n", shown.padding, std::string(shown.width, '^'), hint.empty() ? "" : " ", hint);
    return out;
}

std::string to_text(const std::vector<Diagnostic>& diagnostics)
{
    std::string out;
    for (const Diagnostic& diagnostic : diagnostics) {
        out += to_text(diagnostic);
    }
    return out;
}

std::string to_json(const std::vector<Diagnostic>& diagnostics)
{
    nlohmann::json array = nlohmann::json::array();
    for (const Diagnostic& diagnostic : diagnostics) {
        array.push_back(to_json_object(diagnostic));
    }
    return array.dump(2, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string summary(const std::vector<Diagnostic>& diagnostics)
{
    const auto errors = std::count_if(diagnostics.begin(), diagnostics.end(),
                                      [](const Diagnostic& diagnostic) { return diagnostic.severity == Severity::error; });
    const auto warnings = std::ssize(diagnostics) - errors;
    std::string out = errors == 0 ? "no errors" : fmt::format("{} error{}", errors, errors == 1 ? "" : "s");
    if (warnings > 0) {
        out += fmt::format(", {} warning{}", warnings, warnings == 1 ? "" : "s");
    }
    return out;
}

bool has_errors(const std::vector<Diagnostic>& diagnostics)
{
    return std::any_of(diagnostics.begin(), diagnostics.end(),
                       [](const Diagnostic& diagnostic) { return diagnostic.severity == Severity::error; });
}

} // namespace ladle::config
