// SPDX-License-Identifier: Apache-2.0
//
// Fields out of a text, for tests: FieldText f("ETag: \"a\"\nDate: x"); lines end with '\n' here. Owns the bytes.
#pragma once

#include "common/http/head.h"

#include <doctest/doctest.h>

#include <string>
#include <string_view>

struct FieldText {
    std::string bytes;
    ladle::http::Fields fields{100};

    explicit FieldText(std::string_view lines)
    {
        while (!lines.empty()) {
            const std::size_t end = lines.find('\n');
            bytes.append(lines.substr(0, end)).append("\r\n");
            lines = end == std::string_view::npos ? std::string_view{} : lines.substr(end + 1);
        }
        bytes += "\r\n";
        fields.rebase(bytes.data());
        std::size_t position = 0;
        auto error = ladle::http::HeadError::none;
        REQUIRE(ladle::http::parse_field_lines(bytes, position, fields, error) == ladle::http::Progress::complete);
    }
    FieldText(const FieldText&) = delete;
    FieldText& operator=(const FieldText&) = delete;
};
