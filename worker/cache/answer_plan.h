// SPDX-License-Identifier: Apache-2.0
//
// AnswerPlan: what a stored response becomes for one request: the status, the lines of its head, and which parts of the body are sent
// with what between them (RFC 9110 §13.2.2, §14). Made once; the body is then followed part by part.
#pragma once

#include "common/shm/cache_store.h"
#include "worker/request/request.h"
#include "worker/response/response_writer.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace ladle::worker {

struct AnswerPart {
    std::string before; ///< text that comes first: a part's own head
    std::uint64_t begin = 0;
    std::uint64_t end = 0; ///< shm::kBodyUnknown: as far as it goes
};

struct AnswerPlan {
    std::uint16_t status = 200;
    std::string_view lines;      ///< of the head: the stored ones as they are, or `own_lines`
    std::string own_lines;
    std::string more_lines;      ///< Age, Content-Range, …
    BodyForm form = BodyForm::length;
    std::uint64_t length = 0;    ///< Content-Length, where the form is that, or `none` with `shows_length`
    bool shows_length = false;   ///< though no body follows: HEAD
    bool is_multipart = false;   ///< `more_lines` have its Content-Type
    std::vector<AnswerPart> parts; ///< empty: no body
    std::string after;           ///< text that ends the body
};

/// Plans the answer to `request` with its cache visit's view.
AnswerPlan plan_answer(const Request& request);

} // namespace ladle::worker
