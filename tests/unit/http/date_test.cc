// SPDX-License-Identifier: Apache-2.0
#include "common/http/date.h"

#include <doctest/doctest.h>

#include <ctime>
#include <string>

using namespace ladle::http;

namespace {

constexpr std::int64_t kAutumn2023 = 1'700'000'000;       // 2023-11-14
constexpr std::int64_t kExample = 784'111'777;     // Sun, 06 Nov 1994 08:49:37 GMT
constexpr std::int64_t kEarly2090 = 3'786'912'000; // 2090-01-01

std::string formatted(std::int64_t seconds)
{
    char text[kDateLength];
    return std::string(format_date(seconds, text));
}

} // namespace

TEST_CASE("all three forms of a date are read (RFC 9110 §5.6.7)")
{
    CHECK(parse_date("Sun, 06 Nov 1994 08:49:37 GMT", kAutumn2023) == kExample);
    CHECK(parse_date("Sunday, 06-Nov-94 08:49:37 GMT", kAutumn2023) == kExample);
    CHECK(parse_date("Sun Nov  6 08:49:37 1994", kAutumn2023) == kExample);
    CHECK(parse_date("Sun Nov 06 08:49:37 1994", kAutumn2023) == kExample);
    CHECK(parse_date("Thu, 01 Jan 1970 00:00:00 GMT", kAutumn2023) == 0);
    CHECK(parse_date("Thu, 29 Feb 2024 23:59:60 GMT", kAutumn2023) == 1'709'251'200); // a leap day and a leap second
    CHECK(parse_date("Tue, 19 Jan 2038 03:14:08 GMT", kAutumn2023) == std::int64_t{1} << 31);
    CHECK(parse_date("Wed, 20 Nov 2286 17:46:40 GMT", kAutumn2023) == 10'000'000'000);
}

TEST_CASE("dates are read without case (RFC 9111 §4.2)")
{
    CHECK(parse_date("sUN, 06 nOV 1994 08:49:37 gmt", kAutumn2023) == kExample);
}

TEST_CASE("a two-digit year is at most 50 years ahead (RFC 9110 §5.6.7)")
{
    CHECK(parse_date("Thursday, 18-Aug-50 02:01:18 GMT", kAutumn2023) == 2'544'400'878);       // 2050
    CHECK(parse_date("Saturday, 18-Aug-73 02:01:18 GMT", kAutumn2023) == 3'270'247'278);       // 2073, 49.8 years
    CHECK(parse_date("Monday, 18-Dec-73 02:01:18 GMT", kAutumn2023) == 125'028'078);           // 1973, not 2073: more than 50 years
    CHECK(parse_date("Saturday, 01-Jan-05 00:00:00 GMT", kEarly2090) == 4'260'211'200); // 2105
}

TEST_CASE("what is no date")
{
    for (const char* text : {"",
                             "0",
                             "-1",
                             "Sun, 06 Nov 1994 08:49:37 UTC",
                             "Sun, 06 Nov 1994 08:49:37 AEST",
                             "Sun, 06 Nov 1994 08:49:37",
                             "Sun 06 Nov 1994 08:49:37 GMT",
                             "Sun, 06 Nov 94 08:49:37 GMT",
                             "Sun, 6 Nov 1994 08:49:37 GMT",
                             "Sun, 06  Nov  1994 08:49:37 GMT",
                             "Sun, 06-Nov-1994 08:49:37 GMT",
                             "Sun, 06 Nov 1994 08.49.37 GMT",
                             "Sun, 06 Nov 1994 8:49:37 GMT",
                             "Sun, 31 Feb 1994 08:49:37 GMT",
                             "Sun, 29 Feb 1900 08:49:37 GMT",
                             "Sun, 00 Nov 1994 08:49:37 GMT",
                             "Sun, 06 Nov 1994 24:00:00 GMT",
                             "Sun, 06 Nov 1994 08:60:00 GMT",
                             "Sun, 06 Nov 1994 08:49:61 GMT",
                             "Sun, 06 Now 1994 08:49:37 GMT",
                             "Xxx, 06 Nov 1994 08:49:37 GMT",
                             "Sun, 06 Nov 1994 08:49:37 GMT ",
                             " Sun, 06 Nov 1994 08:49:37 GMT",
                             "Sun, 06 Nov 1994 08:49:37 GMTx",
                             "Sunday, 06-Nov-1994 08:49:37 GMT",
                             "Sun, 06-Nov-94 08:49:37 GMT",
                             "Sun Nov  6 08:49:37 1994 GMT",
                             "Sun Nov 6 08:49:37 1994",
                             "Sun Nov  6 08:49:37 94",
                             "Sun, +6 Nov 1994 08:49:37 GMT"}) {
        CAPTURE(text);
        CHECK_FALSE(parse_date(text, kAutumn2023).has_value());
    }
}

TEST_CASE("dates are written as IMF-fixdate, and read back")
{
    CHECK(formatted(kExample) == "Sun, 06 Nov 1994 08:49:37 GMT");
    CHECK(formatted(0) == "Thu, 01 Jan 1970 00:00:00 GMT");
    CHECK(formatted(-1) == "Wed, 31 Dec 1969 23:59:59 GMT");
    CHECK(formatted(INT64_MAX) == "Fri, 31 Dec 9999 23:59:59 GMT");
    CHECK(formatted(INT64_MIN) == "Sat, 01 Jan 0000 00:00:00 GMT");
    for (std::int64_t seconds = -62167219200; seconds < 253402300800; seconds += 86400 * 37 + 12345) {
        CAPTURE(seconds);
        const std::string text = formatted(seconds);
        const time_t time = seconds;
        tm parts{};
        ::gmtime_r(&time, &parts);
        char expected[64];
        const std::size_t size = ::strftime(expected, sizeof expected, "%a, %d %b", &parts);
        REQUIRE(text.substr(0, size) == expected);
        REQUIRE(parse_date(text, kAutumn2023) == seconds);
    }
}
