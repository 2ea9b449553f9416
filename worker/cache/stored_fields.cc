// SPDX-License-Identifier: Apache-2.0
#include "worker/cache/stored_fields.h"

#include "common/http/head.h"

#include <tuple>

namespace ladle::worker {

namespace {

constexpr std::size_t kMostFields = 20'000; // twice what [defence.request] headers allows: what was stored is always read again

} // namespace

StoredFields::StoredFields(std::string_view lines) : text_(lines), fields_(kMostFields)
{
    text_ += "\r\n";
    fields_.rebase(text_.data());
    std::size_t position = 0;
    http::HeadError error = http::HeadError::none;
    std::ignore = http::parse_field_lines(text_, position, fields_, error); // they were valid when they were stored
}

} // namespace ladle::worker
