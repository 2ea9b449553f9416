// SPDX-License-Identifier: Apache-2.0
#include "worker/request/chunked_body.h"

#include "worker/request/hop_by_hop.h"

#include <algorithm>
#include <charconv>
#include <string_view>

namespace ladle::worker {

void append_chunk(Chain& out, Chain&& data)
{
    if (data.empty()) {
        return;
    }
    char size[24];
    char* end = std::to_chars(size, size + sizeof size, data.bytes(), 16).ptr;
    *end++ = '\r';
    *end++ = '\n';
    out.append_copy({size, static_cast<std::size_t>(end - size)});
    out.append(std::move(data));
    out.append_copy("\r\n");
}

void append_last_chunk(Chain& out, std::string_view trailers)
{
    out.append_copy("0\r\n");
    out.append_copy(trailers);
    out.append_copy("\r\n");
}

std::string trailer_lines(const http::ChunkedDecoder& trailers, const config::FieldEdits* edits,
                          std::initializer_list<std::string_view> withheld)
{
    std::string lines;
    http::Fields fields(1000);
    if (trailers.trailer_bytes().size() <= 2 || !trailers.parse_trailers(fields)) {
        return lines;
    }
    mark_hop_by_hop(fields);
    mark_look_alikes(fields);
    for (const http::Field& field : fields) {
        const std::string_view name = fields.name(field);
        const bool is_edited = edits != nullptr && edits->drops(name);
        const bool is_withheld = std::ranges::any_of(withheld, [name](std::string_view one) { return looks_like(name, one); });
        if (!field.is_dropped && !is_edited && !is_withheld && !is_forbidden_trailer(field.id, name)) {
            lines.append(name).append(": ").append(fields.value(field)).append("\r\n");
        }
    }
    return lines;
}

} // namespace ladle::worker
