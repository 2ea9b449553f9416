// SPDX-License-Identifier: Apache-2.0
#include "common/http/media_type.h"

#include "common/http/grammar.h"

#include <algorithm>
#include <array>

namespace ladle::http {

namespace {

constexpr unsigned kFull = 1000;

/// Up to `stop`, which may stand in a quoted string without ending anything; takes it off `rest` with what stands before it.
std::string_view take_until(std::string_view& rest, char stop) noexcept
{
    bool is_quoted = false;
    std::size_t at = 0;
    for (; at < rest.size() && (is_quoted || rest[at] != stop); ++at) {
        if (rest[at] == '"') {
            is_quoted = !is_quoted;
        } else if (rest[at] == '\\' && is_quoted) {
            ++at;
        }
    }
    const std::string_view taken = rest.substr(0, at);
    rest.remove_prefix(std::min(at + 1, rest.size()));
    return trim(taken);
}

/// qvalue (RFC 9110 §12.4.2) in thousandths; nothing where it is none.
std::optional<unsigned> parse_quality(std::string_view text) noexcept
{
    if (text.empty() || text.size() > 5 || (text[0] != '0' && text[0] != '1') || (text.size() > 1 && text[1] != '.')) {
        return std::nullopt;
    }
    unsigned value = text[0] == '1' ? kFull : 0;
    unsigned weight = 100;
    for (std::size_t at = 2; at < text.size(); ++at, weight /= 10) {
        if (!is_class(text[at], kDigit)) {
            return std::nullopt;
        }
        value += weight * static_cast<unsigned>(text[at] - '0');
    }
    return value <= kFull ? std::optional(value) : std::nullopt;
}

/// The q among the parameters; 1 where there is none.
std::optional<unsigned> quality_of(std::string_view parameters) noexcept
{
    while (!parameters.empty()) {
        const std::string_view parameter = take_until(parameters, ';');
        if (parameter.size() >= 2 && to_lower(parameter[0]) == 'q' && parameter[1] == '=') {
            return parse_quality(parameter.substr(2));
        }
    }
    return kFull;
}

struct Extension {
    std::string_view name;
    FileKind kind;
};

// Sorted by name.
constexpr auto kExtensions = std::to_array<Extension>({
    {"3gp", FileKind::video},   {"aac", FileKind::audio},   {"aif", FileKind::audio},  {"aiff", FileKind::audio},
    {"apng", FileKind::image},  {"avi", FileKind::video},   {"avif", FileKind::image}, {"bmp", FileKind::image},
    {"cjs", FileKind::script},  {"css", FileKind::style},   {"cur", FileKind::image},  {"eot", FileKind::font},
    {"flac", FileKind::audio},  {"flv", FileKind::video},   {"gif", FileKind::image},  {"heic", FileKind::image},
    {"heif", FileKind::image},  {"ico", FileKind::image},   {"jfif", FileKind::image}, {"jpeg", FileKind::image},
    {"jpg", FileKind::image},   {"js", FileKind::script},   {"jxl", FileKind::image},  {"m3u8", FileKind::video},
    {"m4a", FileKind::audio},   {"m4s", FileKind::video},   {"m4v", FileKind::video},  {"mid", FileKind::audio},
    {"midi", FileKind::audio},  {"mjs", FileKind::script},  {"mkv", FileKind::video},  {"mov", FileKind::video},
    {"mp3", FileKind::audio},   {"mp4", FileKind::video},   {"mpd", FileKind::video},  {"mpeg", FileKind::video},
    {"mpg", FileKind::video},   {"oga", FileKind::audio},   {"ogg", FileKind::audio},  {"ogv", FileKind::video},
    {"opus", FileKind::audio},  {"otf", FileKind::font},    {"png", FileKind::image},  {"svg", FileKind::image},
    {"svgz", FileKind::image},  {"tif", FileKind::image},   {"tiff", FileKind::image}, {"ttc", FileKind::font},
    {"ttf", FileKind::font},    {"wasm", FileKind::script}, {"wav", FileKind::audio},  {"weba", FileKind::audio},
    {"webm", FileKind::video},  {"webp", FileKind::image},  {"wma", FileKind::audio},  {"wmv", FileKind::video},
    {"woff", FileKind::font},   {"woff2", FileKind::font},
});
static_assert(std::ranges::is_sorted(kExtensions, {}, &Extension::name));

} // namespace

bool is_media_range(std::string_view text) noexcept
{
    const std::size_t slash = text.find('/');
    if (slash == std::string_view::npos) {
        return false;
    }
    const std::string_view type = text.substr(0, slash);
    const std::string_view subtype = text.substr(slash + 1);
    const bool has_star = text.find('*') != std::string_view::npos;
    return is_token(type) && is_token(subtype) && type != "*" && (!has_star || (subtype == "*" && type.find('*') == type.npos));
}

std::string_view media_type_of(std::string_view value) noexcept
{
    return trim(value.substr(0, value.find(';')));
}

unsigned named_quality(const Fields& fields, std::string_view wanted) noexcept
{
    if (!fields.has(FieldName::accept)) {
        return 0;
    }
    const std::size_t slash = std::min(wanted.find('/'), wanted.size());
    const bool wants_any = wanted.ends_with("/*");
    std::optional<unsigned> exact;
    unsigned group = 0;
    for (const Field& field : fields) {
        std::string_view rest = field.id == FieldName::accept ? fields.value(field) : std::string_view{};
        while (!rest.empty()) {
            std::string_view parameters = take_until(rest, ',');
            const std::string_view range = take_until(parameters, ';');
            if (range.size() <= slash || !equals_ignoring_case(range.substr(0, slash + 1), wanted.substr(0, slash + 1))) {
                continue;
            }
            const unsigned quality = quality_of(parameters).value_or(0);
            if (!wants_any && equals_ignoring_case(range, wanted)) {
                exact = std::max(exact.value_or(0), quality);
            } else if (wants_any || range.substr(slash + 1) == "*") {
                group = std::max(group, quality);
            }
        }
    }
    return exact.value_or(group);
}

std::optional<FileKind> find_file_kind(std::string_view name) noexcept
{
    constexpr std::array<std::pair<std::string_view, FileKind>, 7> kNames{{{"image", FileKind::image},
                                                                            {"audio", FileKind::audio},
                                                                            {"sound", FileKind::audio},
                                                                            {"video", FileKind::video},
                                                                            {"font", FileKind::font},
                                                                            {"script", FileKind::script},
                                                                            {"style", FileKind::style}}};
    const auto found = std::ranges::find(kNames, name, &std::pair<std::string_view, FileKind>::first);
    return found == kNames.end() ? std::nullopt : std::optional(found->second);
}

std::optional<FileKind> kind_of_path(std::string_view path) noexcept
{
    const std::size_t dot = path.find_last_of("./");
    if (dot == std::string_view::npos || path[dot] == '/' || path.size() - dot - 1 > 5) {
        return std::nullopt;
    }
    const std::string_view written = path.substr(dot + 1);
    std::array<char, 8> lower{};
    for (std::size_t at = 0; at < written.size() && at < lower.size(); ++at) {
        lower[at] = to_lower(written[at]);
    }
    const std::string_view extension(lower.data(), written.size());
    const auto found = std::ranges::lower_bound(kExtensions, extension, {}, &Extension::name);
    return found != kExtensions.end() && found->name == extension ? std::optional(found->kind) : std::nullopt;
}

} // namespace ladle::http
