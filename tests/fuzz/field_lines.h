// SPDX-License-Identifier: Apache-2.0
//
// Field lines out of a fuzzed text, for the targets of the cache's rules. What the head parser refuses cannot reach them, so it is
// left out.
#pragma once

#include "common/http/head.h"

#include <string>
#include <string_view>

/// Owns the bytes. Lines of `text` end with '\n'; a line that is no field is dropped.
struct FieldLinesText {
    std::string bytes;
    ladle::http::Fields fields{200};

    void add(std::string_view text)
    {
        while (!text.empty()) {
            const std::size_t end = text.find('\n');
            add_line(text.substr(0, end));
            text = end == std::string_view::npos ? std::string_view{} : text.substr(end + 1);
        }
    }
    void add_line(std::string_view line)
    {
        const std::string one = std::string(line) + "\r\n\r\n";
        ladle::http::Fields probe(1);
        std::size_t position = 0;
        auto error = ladle::http::HeadError::none;
        if (ladle::http::parse_field_lines(one, position, probe, error) == ladle::http::Progress::complete && probe.size() == 1) {
            bytes.append(line).append("\r\n");
        }
    }
    /// Call once, after the last line.
    bool parse()
    {
        bytes += "\r\n";
        fields.rebase(bytes.data());
        std::size_t position = 0;
        auto error = ladle::http::HeadError::none;
        return ladle::http::parse_field_lines(bytes, position, fields, error) == ladle::http::Progress::complete;
    }
};
