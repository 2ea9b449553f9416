// SPDX-License-Identifier: Apache-2.0
//
// Writes what goes to the client: interim and final heads of a server's response, and answers of our own. Heads are written anew
// from the parsed form, without the fields that are for one hop only.
#pragma once

#include "worker/request/request.h"

#include <cstdint>
#include <string_view>

namespace ladle::worker {

/// The edits of what this client gets, whoever answers: the route's, else the site's, else the file's; null = none.
const config::FieldEdits* find_response_edits(const Request& request) noexcept;

/// The form for this client of a body that came with `framing`. RFC 9112 §6: HTTP/1.0 clients get no chunks.
BodyForm choose_body_form(const Request& request, http::Framing framing) noexcept;

/// The interim response in request.response, into client.out: without the fields that edits of the final one remove or
/// set; what is set is said there.
void write_interim(Request& request);

/// A 100 (Continue) of our own, into client.out.
void write_continue(Request& request);

/// The head of the final response in request.response. Decides request.after by the client's wish, the form and the worker's state.
void write_response_head(Request& request, BodyForm form, std::uint64_t length);

/// The head of a stored response.
struct StoredHead {
    std::uint16_t status;
    std::string_view lines;      ///< "Name: value\r\n" …, as they were stored
    std::string_view unstored_lines; ///< of the server's answer, too, which only this request is sent
    std::string_view more_lines; ///< what is said about them for this request
    BodyForm form;
    std::uint64_t length;
    bool shows_length; ///< also with BodyForm::none (HEAD)
    bool is_multipart; ///< `more_lines` have the Content-Type, and there is no other
};
void write_stored_head(Request& request, const StoredHead& head);

/// Whether the client takes answers of nothing but a head, whose fields are metadata of its call.
bool is_grpc_over_h2(const Request& request) noexcept;

/// The same status in HTTP's and in gRPC's words (doc/http-grpc-status-mapping.md of gRPC; 413 and 431 are RESOURCE_EXHAUSTED,
/// which clients would not guess), a head without a body, into client.out. Only where is_grpc_over_h2().
void write_grpc_error(Request& request, std::uint16_t status);

/// An answer of our own, head and body (the body is left out for HEAD), into client.out.
void write_answer(Request& request, std::uint16_t status, std::string_view content_type, std::string_view body);

} // namespace ladle::worker
