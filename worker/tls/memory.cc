// SPDX-License-Identifier: Apache-2.0
#include "worker/tls/memory.h"

#include <openssl/crypto.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace ladle::worker {

namespace {

constexpr std::size_t kTlsPages = 2;
constexpr std::size_t kMostTls = 1 << 19; // connections of a worker that can rest: 4 GiB of addresses

constinit PageSlots g_tls_slots(kTlsPages, kMostTls);
bool g_has_hooks = false;
bool g_is_making_ssl = false; ///< the next allocation that fits a slot, and nothing smaller, is the SSL itself

void* on_malloc(std::size_t size, const char*, int) noexcept
{
    if (g_is_making_ssl && size > PageSlots::kPage && size <= g_tls_slots.slot_bytes()) {
        g_is_making_ssl = false;
        if (void* slot = g_tls_slots.take(); slot != nullptr) {
            return slot;
        }
    }
    return std::malloc(size);
}

void on_free(void* at, const char*, int) noexcept
{
    if (g_tls_slots.owns(at)) {
        g_tls_slots.give_back(at);
    } else {
        std::free(at);
    }
}

void* on_realloc(void* at, std::size_t size, const char*, int) noexcept
{
    if (!g_tls_slots.owns(at)) {
        return std::realloc(at, size);
    }
    void* moved = std::malloc(size);
    if (moved != nullptr) {
        std::memcpy(moved, at, std::min(size, g_tls_slots.slot_bytes()));
        g_tls_slots.give_back(at);
    }
    return moved;
}

} // namespace

bool use_slots_for_tls() noexcept
{
    g_has_hooks = CRYPTO_set_mem_functions(&on_malloc, &on_realloc, &on_free) == 1;
    return g_has_hooks;
}

SslPtr make_ssl(SSL_CTX& settings) noexcept
{
    g_is_making_ssl = g_has_hooks;
    SslPtr ssl(SSL_new(&settings));
    g_is_making_ssl = false;
    return ssl;
}

RestingSsl::RestingSsl(SslPtr ssl) noexcept
    : ssl_(std::move(ssl)), memory_(g_tls_slots.owns(ssl_.get()) ? ssl_.get() : nullptr, g_tls_slots.slot_bytes())
{
}

} // namespace ladle::worker
