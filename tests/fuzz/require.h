// SPDX-License-Identifier: Apache-2.0
//
// What all fuzz targets share: a check that ends the run, and the input as text. A target states a property, not only "no crash":
// where the pieces of the input are cut must not change the outcome, and what was accepted must hold no byte that splits a head.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

/// Ends the fuzz run with the property and a trace if it does not hold.
#define REQUIRE(condition) \
    do { \
        if (!(condition)) { \
            std::fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
            abort(); \
        } \
    } while (false)

inline std::string_view text_of(const std::uint8_t* bytes, std::size_t size) noexcept
{
    return {reinterpret_cast<const char*>(bytes), size};
}

/// No byte in it could end a line or a string early.
inline bool is_one_line(std::string_view text) noexcept
{
    return text.find_first_of(std::string_view("\r\n\0", 3)) == std::string_view::npos;
}
