// SPDX-License-Identifier: Apache-2.0
//
// Build-time tool: `generate-docs man|schema|markdown` prints one of the documents made from the settings table.
#include "common/config/docs.h"

#include <cstdio>
#include <string>
#include <string_view>

int main(int count, char** arguments)
{
    const std::string_view what = count == 2 ? arguments[1] : "";
    std::string text;
    if (what == "man") {
        text = ladle::config::manual_page();
    } else if (what == "schema") {
        text = ladle::config::json_schema();
    } else if (what == "markdown") {
        text = ladle::config::markdown_reference();
    } else {
        std::fputs("usage: generate-docs man|schema|markdown\n", stderr);
        return 2;
    }
    return std::fwrite(text.data(), 1, text.size(), stdout) == text.size() ? 0 : 1;
}
