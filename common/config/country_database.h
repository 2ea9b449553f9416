// SPDX-License-Identifier: Apache-2.0
//
// CountryDatabase: the country of an address, from the bytes of a MaxMind DB file (GeoLite2-Country, DB-IP, IPinfo …; format 2.0).
// Reads them where they lie: in a worker that is the bundle's mapping, which all workers share. libmaxminddb can only open a path,
// which no worker may, or would need a copy of the file in a memfd of its own beside the bundle, for reload, restart and upgrade to
// carry; the part of the format that finds a country is small. Built by load(), immutable, any thread.
//
// Whatever the bytes are, nothing is read outside them, and a search ends after as many steps as they allow.
#pragma once

#include "common/config/shared_text.h"

#include <array>
#include <cstdint>
#include <expected>
#include <memory>
#include <string>
#include <string_view>

namespace ladle::config {

/// Two capital letters; 0 = not known.
using Country = std::array<char, 2>;

class CountryDatabase {
public:
    /// The error says why the text is not such a file.
    static std::expected<std::shared_ptr<const CountryDatabase>, std::string> open(SharedText text);

    /// The country of an address (IPv4 as v4-mapped): country.iso_code, or a text country_code or country.
    Country find(const std::array<std::uint8_t, 16>& address) const noexcept;

private:
    CountryDatabase() = default;
    std::uint32_t record(std::uint32_t node, unsigned side) const noexcept;
    std::uint32_t walk(std::uint32_t node, const std::uint8_t* bytes, unsigned bits) const noexcept;

    SharedText text_;
    std::string_view tree_;
    std::string_view values_; ///< the data section
    std::uint32_t nodes_ = 0;
    std::uint32_t record_bits_ = 0; ///< 24, 28 or 32
    std::uint32_t v4_start_ = 0;    ///< the node behind 96 zero bits
    bool has_v6_ = false;
};

} // namespace ladle::config
