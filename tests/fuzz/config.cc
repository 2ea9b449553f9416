// SPDX-License-Identifier: Apache-2.0
// The loader: any text gives either a configuration or at least one error, and the same text gives the same.
#include "common/config/loader.h"
#include "tests/fuzz/require.h"

using namespace ladle::config;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size)
{
    Recording recording;
    recording.files["/fuzz.toml"] = std::string(text_of(bytes, size));
    BundleFiles files(recording);
    const LoadResult first = load(files, "/fuzz.toml");
    bool has_error = false;
    for (const Diagnostic& diagnostic : first.diagnostics) {
        has_error = has_error || diagnostic.severity == Severity::error;
        REQUIRE(!diagnostic.message.empty());
    }
    REQUIRE((first.config == nullptr) == has_error);
    const LoadResult second = load(files, "/fuzz.toml");
    REQUIRE(second.diagnostics.size() == first.diagnostics.size());
    return 0;
}
