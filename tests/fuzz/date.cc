// SPDX-License-Identifier: Apache-2.0
// Dates: what is read is written back as the same second, and upper and lower case mean the same.
#include "common/http/date.h"
#include "common/http/grammar.h"
#include "tests/fuzz/require.h"

#include <string>

using namespace ladle::http;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size)
{
    constexpr std::int64_t kNow = 1'700'000'000;
    const std::string_view input = text_of(bytes, size);
    const auto date = parse_date(input, kNow);
    std::string lower;
    for (const char c : input) {
        lower += to_lower(c);
    }
    REQUIRE(parse_date(lower, kNow) == date);
    if (date) {
        char text[kDateLength];
        const std::string_view written = format_date(*date, text);
        REQUIRE(is_one_line(written));
        REQUIRE(parse_date(written, kNow) == date);
        REQUIRE(size == kDateLength || parse_date(input, kNow + 100).has_value());
    }
    return 0;
}
