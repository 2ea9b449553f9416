// SPDX-License-Identifier: Apache-2.0
#include "worker/tls/providers.h"

#include "worker/tls/library.h"

#include <openssl/provider.h>

#include <map>

namespace ladle::worker {

Result<void> use_providers(const std::vector<std::string>& names)
{
    static auto& in_use = *new std::map<std::string, OSSL_PROVIDER*>; // for ever: OpenSSL ends after us, and uses them till then
    for (const std::string& name : names) {
        if (in_use.contains(name)) {
            continue;
        }
        OSSL_PROVIDER* const provider = OSSL_PROVIDER_load(nullptr, name.c_str());
        if (provider == nullptr) {
            return fail(Origin::local, "OpenSSL cannot load the provider \"" + name + "\": " + std::string(take_tls_error()));
        }
        in_use.emplace(name, provider);
    }
    return {};
}

} // namespace ladle::worker
