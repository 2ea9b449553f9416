// SPDX-License-Identifier: Apache-2.0
#include "worker/tls/signer.h"

#include "common/os/process.h"
#include "worker/tls/library.h"
#include "worker/tls/signer_wire.h"

#include <openssl/ec.h>
#include <openssl/engine.h>
#include <openssl/err.h>
#include <openssl/rsa.h>
#include <openssl/ui.h>

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <map>
#include <string>
#include <string_view>

// Engines, and the operations of a key that an engine has made its own: deprecated, and without a successor in Debian 12.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

namespace ladle::worker {

namespace {

/// A device through its engine. Lives as long as the process: engines are not made to be put down in order.
struct Device {
    std::string engine_name;
    std::string module;
    std::string pin;
    ENGINE* engine = nullptr;
    std::map<std::string, KeyPtr, std::less<>> keys; ///< by URI
};

struct Outcome {
    bool is_made;
    std::string text; ///< the signature, or why there is none
};

Outcome failure(std::string_view what)
{
    std::string text(what);
    text += ": ";
    text += take_tls_error();
    return {false, std::move(text)};
}

/// Empty = it is open.
std::string open_engine(Device& device)
{
    ENGINE_load_builtin_engines();
    ENGINE* engine = ENGINE_by_id(device.engine_name.c_str());
    if (engine == nullptr) {
        return failure("the OpenSSL engine " + device.engine_name + " is not to be had").text;
    }
    const auto set = [&](const char* command, const std::string& value) {
        return value.empty() || ENGINE_ctrl_cmd_string(engine, command, value.c_str(), 0) == 1;
    };
    if (!set("MODULE_PATH", device.module) || !set("PIN", device.pin) || ENGINE_init(engine) != 1) {
        return failure("the device cannot be opened").text;
    }
    device.engine = engine;
    return {};
}

/// "engine:ID" is ID to the engine; "pkcs11:…" is a name of its own.
std::string engine_name_of(std::string_view uri)
{
    constexpr std::string_view kPrefix = "engine:";
    return std::string(uri.starts_with(kPrefix) ? uri.substr(kPrefix.size()) : uri);
}

EVP_PKEY* find_key(Device& device, std::string_view uri, std::string& problem)
{
    if (const auto known = device.keys.find(uri); known != device.keys.end()) {
        return known->second.get();
    }
    if (device.engine == nullptr) {
        problem = open_engine(device);
    }
    if (!problem.empty()) {
        return nullptr;
    }
    KeyPtr key(ENGINE_load_private_key(device.engine, engine_name_of(uri).c_str(), const_cast<UI_METHOD*>(UI_null()), nullptr));
    if (!key) {
        problem = failure("the device does not give the key").text;
        return nullptr;
    }
    return (device.keys[std::string(uri)] = std::move(key)).get();
}

Outcome sign(EVP_PKEY* key, SignAlgorithm algorithm, std::string_view bytes)
{
    std::string out(static_cast<std::size_t>(EVP_PKEY_get_size(key)), '\0');
    auto* to = reinterpret_cast<unsigned char*>(out.data());
    const auto* from = reinterpret_cast<const unsigned char*>(bytes.data());
    const int size = static_cast<int>(bytes.size());
    if (algorithm == SignAlgorithm::ecdsa) {
        auto* ec = const_cast<EC_KEY*>(EVP_PKEY_get0_EC_KEY(key));
        unsigned made = 0;
        if (ec == nullptr || ECDSA_sign(0, from, size, to, &made, ec) != 1) {
            return failure("the device does not sign");
        }
        out.resize(made);
        return {true, std::move(out)};
    }
    auto* rsa = const_cast<RSA*>(EVP_PKEY_get0_RSA(key));
    const int padding = algorithm == SignAlgorithm::rsa_plain ? RSA_NO_PADDING : RSA_PKCS1_PADDING;
    const int made = rsa == nullptr ? -1 : RSA_private_encrypt(size, from, to, rsa, padding);
    if (made <= 0) {
        return failure("the device does not sign");
    }
    out.resize(static_cast<std::size_t>(made));
    return {true, std::move(out)};
}

Outcome serve(Device& device, const SignRequest& request, std::string_view rest)
{
    if (request.key_bytes > rest.size()) {
        return {false, "a malformed request"};
    }
    std::string problem;
    EVP_PKEY* key = find_key(device, rest.substr(0, request.key_bytes), problem);
    return key != nullptr ? sign(key, request.algorithm, rest.substr(request.key_bytes)) : Outcome{false, std::move(problem)};
}

/// The next datagram; empty = the worker is gone.
std::string_view receive(char* into, std::size_t size)
{
    ssize_t n = 0;
    do {
        n = ::recv(kSignerChannel, into, size, 0);
    } while (n < 0 && errno == EINTR);
    return {into, n > 0 ? static_cast<std::size_t>(n) : 0};
}

std::string take_text(std::string_view& from)
{
    const std::size_t end = from.find('\0');
    std::string text(from.substr(0, end));
    from = end == std::string_view::npos ? std::string_view{} : from.substr(end + 1);
    return text;
}

} // namespace

int run_signer()
{
    ::prctl(PR_SET_PDEATHSIG, SIGKILL); // a device that hangs must not keep it
    ::prctl(PR_SET_NAME, "ladle: signer");
    os::close_all_but({kSignerChannel});
    ::fcntl(kSignerChannel, F_SETFL, 0); // it has nothing to do but to wait
    static char message[kMostSignerMessage];
    std::string_view setup = receive(message, sizeof message);
    static Device& device = *new Device; // for as long as the process lives, and known to whoever looks for leaks at its end
    device.engine_name = take_text(setup);
    device.module = take_text(setup);
    device.pin = take_text(setup);
    ::explicit_bzero(message, sizeof message);
    for (;;) {
        const std::string_view received = receive(message, sizeof message);
        SignRequest request{};
        if (received.size() < sizeof request) {
            return 0;
        }
        std::memcpy(&request, received.data(), sizeof request);
        const Outcome outcome = serve(device, request, received.substr(sizeof request));
        const SignAnswer answer{request.number, outcome.is_made ? 1u : 0u, 0};
        std::string out(reinterpret_cast<const char*>(&answer), sizeof answer);
        out += outcome.text;
        if (::send(kSignerChannel, out.data(), out.size(), MSG_NOSIGNAL) < 0 || !outcome.is_made) {
            return 1;
        }
    }
}

} // namespace ladle::worker

#pragma GCC diagnostic pop
