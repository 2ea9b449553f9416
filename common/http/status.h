// SPDX-License-Identifier: Apache-2.0
//
// Status codes and their phrases (RFC 9110 §15). Pure.
#pragma once

#include <cstdint>
#include <string_view>

namespace ladle::http {

/// "Not Found"; empty for codes without a registered phrase.
std::string_view reason_phrase(std::uint16_t status) noexcept;

} // namespace ladle::http
