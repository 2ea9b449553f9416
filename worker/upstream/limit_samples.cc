// SPDX-License-Identifier: Apache-2.0
#include "worker/upstream/limit_samples.h"

namespace ladle::worker {

AnswerLoad answer_load(const http::ResponseHead& response) noexcept
{
    if (response.status >= 500 || response.status == 429) {
        return AnswerLoad::nothing;
    }
    const http::Field* const code = response.status == 200 ? response.fields.find("grpc-status") : nullptr;
    if (code == nullptr || response.fields.value(*code) == "0") {
        return AnswerLoad::work;
    }
    const std::string_view value = response.fields.value(*code);
    return value == "8" || value == "14" ? AnswerLoad::overload : AnswerLoad::nothing;
}

} // namespace ladle::worker
