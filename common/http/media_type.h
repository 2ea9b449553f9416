// SPDX-License-Identifier: Apache-2.0
//
// Media types as routes ask about them: of a request's body (Content-Type), of what a client accepts (Accept, RFC 9110
// §12.5.1), and of what a path's extension lets expect. Pure; nothing allocates.
#pragma once

#include "common/http/fields.h"

#include <cstdint>
#include <optional>
#include <string_view>

namespace ladle::http {

/// "text/html", "text/*"; lower or upper case.
bool is_media_range(std::string_view text) noexcept;

/// What stands before the parameters of a Content-Type: "text/html" of "text/html; charset=utf-8".
std::string_view media_type_of(std::string_view value) noexcept;

/// How much the client wants `wanted` ("text/html", or "text/*": any text), in thousandths, by the Accept entries that name it: the
/// type itself before its "text/*". What "*/*" covers is not named: nearly every client sends it, and wants nothing by that. An
/// entry with a malformed q counts for nothing.
unsigned named_quality(const Fields& fields, std::string_view wanted) noexcept;

/// What a path is probably for, by its extension.
enum class FileKind : std::uint8_t { image, audio, video, font, script, style };

/// "image", "audio" or "sound", "video", "font", "script", "style".
std::optional<FileKind> find_file_kind(std::string_view name) noexcept;

/// By the extension of the path's last segment, without case; nothing for those of no kind.
std::optional<FileKind> kind_of_path(std::string_view path) noexcept;

} // namespace ladle::http
