// SPDX-License-Identifier: Apache-2.0
// Databases of countries: whatever the bytes, a search ends, reads nothing outside, and finds two capital letters or nothing.
#include "common/config/country_database.h"
#include "tests/fuzz/require.h"

using namespace ladle::config;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size)
{
    const auto database = CountryDatabase::open({text_of(bytes, size), nullptr});
    if (!database) {
        return 0;
    }
    for (std::uint8_t i = 0; i < 64; ++i) {
        std::array<std::uint8_t, 16> address{};
        address[10] = address[11] = i % 2 == 0 ? 0xFF : 0;
        address[12] = address[0] = static_cast<std::uint8_t>(i * 37);
        address[13] = address[1] = static_cast<std::uint8_t>(i * 101);
        const Country country = (*database)->find(address);
        REQUIRE(country == Country{} || (country[0] >= 'A' && country[0] <= 'Z' && country[1] >= 'A' && country[1] <= 'Z'));
    }
    return 0;
}
