// SPDX-License-Identifier: Apache-2.0
#include "worker/tls/tickets.h"

#include "common/base/assert.h"

#include <openssl/core_names.h>
#include <openssl/params.h>
#include <openssl/rand.h>

#include <array>
#include <cstring>

namespace ladle::worker {

namespace {

/// What the callback says to OpenSSL.
enum TicketVerdict : int { kTicketFailed = -1, kTicketNone = 0, kTicketGood = 1, kTicketRenew = 2 };

/// Fetched once: looking an algorithm up costs more than using it.
const EVP_CIPHER* cipher()
{
    static const EVP_CIPHER* const fetched = EVP_CIPHER_fetch(nullptr, "AES-256-CBC", nullptr);
    return fetched;
}

bool set_mac(EVP_MAC_CTX* mac, const shm::TicketKey& key)
{
    char digest[] = "SHA256";
    auto* bytes = const_cast<std::uint8_t*>(key.mac.data());
    const OSSL_PARAM parameters[] = {OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, bytes, key.mac.size()),
                                     OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
                                     OSSL_PARAM_construct_end()};
    return EVP_MAC_CTX_set_params(mac, parameters) == 1;
}

int seal(const shm::TicketKey& key, unsigned char* name, unsigned char* iv, EVP_CIPHER_CTX* to, EVP_MAC_CTX* mac)
{
    if (RAND_bytes(iv, EVP_CIPHER_get_iv_length(cipher())) != 1 ||
        EVP_EncryptInit_ex2(to, cipher(), key.cipher.data(), iv, nullptr) != 1 || !set_mac(mac, key)) {
        return kTicketFailed;
    }
    std::memcpy(name, key.name.data(), key.name.size());
    return kTicketGood;
}

/// What opening a ticket with a key of that age says. In TLS 1.3 a client uses each ticket once (RFC 8446 §C.4), so it gets
/// another; and with that an answer to its Finished, for which its kernel may be holding back the request.
int verdict_for(const SSL* ssl, shm::TicketAge age)
{
    return age != shm::TicketAge::current || SSL_version(ssl) >= TLS1_3_VERSION ? kTicketRenew : kTicketGood;
}

int open(const SSL* ssl, const shm::TicketKeySet& keys, const unsigned char* name, unsigned char* iv, EVP_CIPHER_CTX* from,
         EVP_MAC_CTX* mac)
{
    using shm::TicketAge;
    for (const TicketAge age : {TicketAge::current, TicketAge::previous, TicketAge::next}) { // a single key of a file is all three
        const shm::TicketKey& key = keys[static_cast<std::size_t>(age)];
        if (std::memcmp(name, key.name.data(), key.name.size()) != 0) {
            continue;
        }
        const bool is_set = EVP_DecryptInit_ex2(from, cipher(), key.cipher.data(), iv, nullptr) == 1 && set_mac(mac, key);
        return is_set ? verdict_for(ssl, age) : kTicketFailed;
    }
    return kTicketNone;
}

int on_ticket(SSL* ssl, unsigned char* name, unsigned char* iv, EVP_CIPHER_CTX* cipher_state, EVP_MAC_CTX* mac, int is_new)
{
    const auto& shared = *static_cast<const shm::TicketKeys*>(SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl)));
    const std::optional<shm::TicketKeySet> keys = shm::read_ticket_keys(shared);
    if (!keys) {
        return kTicketNone;
    }
    const shm::TicketKey& current = (*keys)[static_cast<std::size_t>(shm::TicketAge::current)];
    return is_new == 1 ? seal(current, name, iv, cipher_state, mac) : open(ssl, *keys, name, iv, cipher_state, mac);
}

} // namespace

void use_ticket_keys(SSL_CTX& settings, const shm::TicketKeys& keys, std::chrono::seconds lifetime)
{
    LADLE_ASSERT(cipher() != nullptr);
    SSL_CTX_set_app_data(&settings, const_cast<shm::TicketKeys*>(&keys));
    SSL_CTX_set_tlsext_ticket_key_evp_cb(&settings, &on_ticket);
    SSL_CTX_set_session_cache_mode(&settings, SSL_SESS_CACHE_OFF); // one worker's memory would be of no use to the others
    SSL_CTX_set_timeout(&settings, lifetime.count());
    SSL_CTX_set_num_tickets(&settings, 1);
}

} // namespace ladle::worker
