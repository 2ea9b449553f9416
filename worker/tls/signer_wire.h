// SPDX-License-Identifier: Apache-2.0
//
// What a worker (device.h) and its signer process (signer.h) say to each other, one SOCK_SEQPACKET datagram each, over the channel
// that the signer has as descriptor 3. First the worker sends the three texts of Device, each ended by a zero; then requests, which
// are answered in their order. Both are the same binary: structs as they lie in memory.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ladle::worker {

inline constexpr int kSignerChannel = 3;
inline constexpr std::size_t kMostSignerMessage = 8192;

enum class SignAlgorithm : std::uint32_t {
    ecdsa,     ///< the bytes are a digest
    rsa_plain, ///< they are as long as the key, and padded
    rsa_pkcs1, ///< they are to be padded as PKCS #1 v1.5 has it
};

/// Then the key's URI, then the bytes to sign.
struct SignRequest {
    std::uint64_t number;
    SignAlgorithm algorithm;
    std::uint32_t key_bytes;
};

/// Then the signature, or in words why there is none.
struct SignAnswer {
    std::uint64_t number;
    std::uint32_t is_made;
    std::uint32_t reserved;
};
static_assert(sizeof(SignRequest) == 16 && sizeof(SignAnswer) == 16);

} // namespace ladle::worker
