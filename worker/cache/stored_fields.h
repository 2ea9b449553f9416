// SPDX-License-Identifier: Apache-2.0
//
// StoredFields: the fields of a stored head, parsed again. For what is rarer than a plain hit: conditions, ranges, validation.
#pragma once

#include "common/http/fields.h"

#include <string>
#include <string_view>

namespace ladle::worker {

class StoredFields {
public:
    /// `lines`: as append_stored_head (common/http/stored_fields.h) makes them. Copied.
    explicit StoredFields(std::string_view lines);
    StoredFields(const StoredFields&) = delete;
    StoredFields& operator=(const StoredFields&) = delete;

    const http::Fields& fields() const noexcept { return fields_; }

private:
    std::string text_;
    http::Fields fields_;
};

} // namespace ladle::worker
