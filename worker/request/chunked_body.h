// SPDX-License-Identifier: Apache-2.0
//
// Writes the chunked coding (RFC 9112 §7.1) of a body that is passed on, to a client or a server, and says which trailers go with
// it. Pure; worker only.
#pragma once

#include "common/config/config.h"
#include "common/http/chunked.h"
#include "worker/net/blocks.h"

#include <initializer_list>
#include <string>
#include <string_view>

namespace ladle::worker {

/// One chunk with all of `data`; nothing for no data.
void append_chunk(Chain& out, Chain&& data);

/// The last chunk and the trailers' lines.
void append_last_chunk(Chain& out, std::string_view trailers);

/// The lines ("Name: value\r\n" …) of the trailers that may be passed on. `edits`: those of the head, null = none; what they remove
/// or set is left out, and so is what looks like a field of `withheld`: a server may merge trailers into the head.
std::string trailer_lines(const http::ChunkedDecoder& trailers, const config::FieldEdits* edits,
                          std::initializer_list<std::string_view> withheld = {});

} // namespace ladle::worker
