// SPDX-License-Identifier: Apache-2.0
#include "worker/tls/sticky_value.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <array>

namespace ladle::worker {

namespace {

constexpr std::size_t kMacBytes = 15; // no padding

} // namespace

std::string sticky_value(const shm::StickyKey& key, std::string_view upstream, std::string_view server)
{
    if (key.ready.load(std::memory_order_acquire) == 0) {
        return {};
    }
    std::string text("sticky");
    for (const std::string_view part : {upstream, server}) {
        text.append(1, '\0').append(part); // neither holds a NUL
    }
    std::array<unsigned char, EVP_MAX_MD_SIZE> mac{};
    unsigned length = 0;
    if (HMAC(EVP_sha256(), key.bytes.data(), static_cast<int>(key.bytes.size()),
             reinterpret_cast<const unsigned char*>(text.data()), text.size(), mac.data(), &length) == nullptr ||
        length < kMacBytes) {
        return {};
    }
    constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    std::string out;
    for (std::size_t at = 0; at < kMacBytes; at += 3) {
        const std::uint32_t bits = std::uint32_t{mac[at]} << 16 | std::uint32_t{mac[at + 1]} << 8 | mac[at + 2];
        for (const unsigned shift : {18u, 12u, 6u, 0u}) {
            out += kDigits[bits >> shift & 63u];
        }
    }
    return out;
}

} // namespace ladle::worker
