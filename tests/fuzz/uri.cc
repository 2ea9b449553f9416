// SPDX-License-Identifier: Apache-2.0
// Targets, authorities and paths: what is accepted is one of its forms; normalising twice changes nothing and leaves no dot
// segment.
#include "common/http/target.h"
#include "tests/fuzz/require.h"

#include <string>

using namespace ladle::http;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size)
{
    const std::string_view input = text_of(bytes, size);
    if (is_authority(input)) {
        REQUIRE(!host_of(input).empty() && input.find_first_of("/?#@ ") == std::string_view::npos && is_one_line(input));
    }
    if (!is_one_line(input)) {
        return 0;
    }
    for (const char* method : {"GET", "OPTIONS", "CONNECT"}) {
        const std::string text =
            std::string(method) + " " + std::string(input) + " HTTP/1.1\r\nHost: " + std::string(input) + "\r\n\r\n";
        RequestHead head;
        if (head.parse(text, {}) != Progress::complete) {
            continue;
        }
        const auto target = parse_target(head);
        if (!target) {
            continue;
        }
        REQUIRE(!target->path.empty() && (target->path[0] == '/' || target->path == "*"));
        REQUIRE(target->path.find_first_of("? #") == std::string_view::npos);
        REQUIRE((target->form == TargetForm::absolute) == !target->authority.empty());
        if (target->path[0] == '/') {
            std::string once;
            normalise_path(target->path, once);
            std::string twice;
            normalise_path(once, twice);
            REQUIRE(!once.empty() && once[0] == '/');
            REQUIRE(once == twice);
            REQUIRE((once + "/").find("/../") == std::string::npos && (once + "/").find("/./") == std::string::npos);
        }
    }
    return 0;
}
