// SPDX-License-Identifier: Apache-2.0
#include "common/http/conditional.h"

#include "tests/unit/http/field_text.h"

using namespace ladle::http;

namespace {

constexpr std::int64_t kNow = 1'700'000'000;
constexpr const char* kStored = "ETag: \"abc\"\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT\nDate: Sun, 06 Nov 1994 09:00:00 GMT";
constexpr std::int64_t kReceived = 784'112'405; // five seconds after Date

std::string evaluated(std::string_view request_lines, std::string_view stored_lines = kStored, Method method = Method::get)
{
    const FieldText request(request_lines);
    const FieldText stored(stored_lines);
    switch (evaluate(method, request.fields, find_validators(stored.fields, kNow), kReceived, kNow)) {
    case Precondition::proceed:
        return "proceed";
    case Precondition::not_modified:
        return "304";
    case Precondition::failed:
        return "412";
    }
    return {};
}

bool range_applies(std::string_view request_lines, std::string_view stored_lines = kStored)
{
    const FieldText request(request_lines);
    const FieldText stored(stored_lines);
    return range_may_apply(request.fields, find_validators(stored.fields, kNow), kNow);
}

Validated validated(std::string_view received_lines, std::string_view stored_lines)
{
    const FieldText received(received_lines);
    const FieldText stored(stored_lines);
    return match_validation(received.fields, find_validators(stored.fields, kNow), kNow);
}

} // namespace

TEST_CASE("entity-tags (RFC 9110 §8.8.3)")
{
    CHECK(parse_entity_tag("\"abc\"")->text == "\"abc\"");
    CHECK(parse_entity_tag("W/\"abc\"")->is_weak);
    CHECK(parse_entity_tag("\"\"").has_value());
    CHECK(parse_entity_tag("\"a,b\xfc\"").has_value());
    for (const char* text :
         {"", "abc", "\"abc", "abc\"", "w/\"abc\"", "W\\\"abc\"", "W/abc", "\"a\"b\"", "\"a b\"", "\"a\" ", "W/ \"a\"", "*"}) {
        CAPTURE(text);
        CHECK_FALSE(parse_entity_tag(text).has_value());
    }
}

TEST_CASE("comparison of entity-tags: the table of RFC 9110 §8.8.3.2")
{
    const EntityTag weak_1{"\"1\"", true};
    const EntityTag weak_2{"\"2\"", true};
    const EntityTag strong_1{"\"1\"", false};
    CHECK((!matches_strongly(weak_1, weak_1) && matches_weakly(weak_1, weak_1)));
    CHECK((!matches_strongly(weak_1, weak_2) && !matches_weakly(weak_1, weak_2)));
    CHECK((!matches_strongly(weak_1, strong_1) && matches_weakly(weak_1, strong_1)));
    CHECK((matches_strongly(strong_1, strong_1) && matches_weakly(strong_1, strong_1)));
}

TEST_CASE("If-None-Match (RFC 9110 §13.1.2)")
{
    for (const char* lines :
         {"If-None-Match: \"abc\"", "If-None-Match: W/\"abc\"", "If-None-Match: *", "If-None-Match: \"1\", \"abc\", \"2\"",
          "If-None-Match: \"a,b\",\"abc\"", "If-None-Match: \"1\"\nIf-None-Match: \"abc\"", "If-None-Match: nonsense, \"abc\"",
          "If-None-Match: \"abc\"\nIf-Modified-Since: Sun, 06 Nov 1974 08:49:37 GMT"}) {
        CAPTURE(lines);
        CHECK(evaluated(lines) == "304");
        CHECK(evaluated(lines, kStored, Method::head) == "304");
        CHECK(evaluated(lines, kStored, Method::put) == "412");
    }
    for (const char* lines : {"If-None-Match: \"abd\"", "If-None-Match: abc", "If-None-Match: \"abc", "If-None-Match: \"abc\"x",
                              "If-None-Match:", "If-None-Match: \"x\"\nIf-Modified-Since: Sun, 06 Nov 2022 08:49:37 GMT"}) {
        CAPTURE(lines);
        CHECK(evaluated(lines) == "proceed");
    }
    CHECK(evaluated("If-None-Match: \"abc\"", "ETag: W/\"abc\"") == "304");
    CHECK(evaluated("If-None-Match: \"abc\"", "ETag: abc") == "proceed");
    CHECK(evaluated("If-None-Match: \"abc\"", "A: b") == "proceed");
    CHECK(evaluated("If-None-Match: *", "A: b") == "304");
}

TEST_CASE("If-Modified-Since (RFC 9110 §13.1.3, RFC 9111 §4.3.2)")
{
    CHECK(evaluated("If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT") == "304");
    CHECK(evaluated("If-Modified-Since: Sunday, 06-Nov-94 08:49:37 GMT") == "304");
    CHECK(evaluated("If-Modified-Since: Sun, 06 Nov 1994 08:49:36 GMT") == "proceed");
    CHECK(evaluated("If-Modified-Since: Sun, 06 Nov 1994 08:49:38 GMT") == "304");
    CHECK(evaluated("If-Modified-Since: nonsense") == "proceed");
    CHECK(evaluated("If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT", kStored, Method::post) == "proceed");
    CHECK(evaluated("If-Modified-Since: Sun, 06 Nov 1994 09:00:00 GMT", "Date: Sun, 06 Nov 1994 09:00:00 GMT") == "304");
    CHECK(evaluated("If-Modified-Since: Sun, 06 Nov 1994 08:59:59 GMT", "Date: Sun, 06 Nov 1994 09:00:00 GMT") == "proceed");
    CHECK(evaluated("If-Modified-Since: Sun, 06 Nov 1994 09:00:05 GMT", "A: b") == "304"); // received at that second
    CHECK(evaluated("If-Modified-Since: Sun, 06 Nov 1994 09:00:04 GMT", "A: b") == "proceed");
    CHECK(evaluated("A: b") == "proceed");
}

TEST_CASE("If-Match and If-Unmodified-Since come first (RFC 9110 §13.2.2)")
{
    CHECK(evaluated("If-Match: \"abc\"") == "proceed");
    CHECK(evaluated("If-Match: *") == "proceed");
    CHECK(evaluated("If-Match: \"x\"") == "412");
    CHECK(evaluated("If-Match: W/\"abc\"") == "412"); // strong comparison
    CHECK(evaluated("If-Match: \"abc\", \"x\"\nIf-None-Match: \"abc\"") == "304");
    CHECK(evaluated("If-Unmodified-Since: Sun, 06 Nov 1994 08:49:37 GMT") == "proceed");
    CHECK(evaluated("If-Unmodified-Since: Sun, 06 Nov 1994 08:49:36 GMT") == "412");
    CHECK(evaluated("If-Unmodified-Since: nonsense") == "proceed");
    CHECK(evaluated("If-Match: \"abc\"\nIf-Unmodified-Since: Sun, 06 Nov 1994 08:49:36 GMT") == "proceed");
    CHECK(evaluated("If-Unmodified-Since: Sun, 06 Nov 1994 08:49:36 GMT\nIf-None-Match: \"abc\"") == "412");
}

TEST_CASE("If-Range (RFC 9110 §13.1.5)")
{
    CHECK(range_applies("A: b"));
    CHECK(range_applies("If-Range: \"abc\""));
    CHECK_FALSE(range_applies("If-Range: W/\"abc\""));
    CHECK_FALSE(range_applies("If-Range: \"abd\""));
    CHECK_FALSE(range_applies("If-Range: W/\"abc\"", "ETag: W/\"abc\""));
    CHECK(range_applies("If-Range: Sun, 06 Nov 1994 08:49:37 GMT"));
    CHECK_FALSE(range_applies("If-Range: Sun, 06 Nov 1994 08:49:38 GMT"));
    CHECK_FALSE(range_applies("If-Range: nonsense"));
    CHECK_FALSE(range_applies("If-Range:"));
    CHECK_FALSE(range_applies("If-Range: Sun, 06 Nov 1994 08:49:37 GMT", // changed in the second of the response: weak
                              "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\nDate: Sun, 06 Nov 1994 08:49:37 GMT"));
    CHECK_FALSE(range_applies("If-Range: \"abc\"\nIf-Range: \"abc\""));
}

TEST_CASE("what a 304 says about the stored response (RFC 9111 §4.3.4)")
{
    CHECK(validated("ETag: \"abc\"", kStored) == Validated::update);
    CHECK(validated("ETag: \"abd\"", kStored) == Validated::touch);
    CHECK(validated("ETag: \"abc\"", "ETag: W/\"abc\"") == Validated::touch); // not the same strong validator
    CHECK(validated("ETag: W/\"abc\"", "ETag: W/\"abc\"") == Validated::update);
    CHECK(validated("ETag: W/\"abd\"", "ETag: W/\"abc\"") == Validated::touch);
    CHECK(validated("Cache-Control: max-age=1", kStored) == Validated::update);
    CHECK(validated("Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT", kStored) == Validated::update);
    CHECK(validated("Last-Modified: Sun, 06 Nov 1994 08:49:38 GMT", kStored) == Validated::touch);
    CHECK(validated("Last-Modified: Sun, 06 Nov 1994 08:49:38 GMT", "ETag: \"abc\"") == Validated::update);
}

TEST_CASE("what the answer to a HEAD says about the stored response (RFC 9111 §4.3.5)")
{
    struct Case {
        const char* lines;
        std::uint16_t status;
        HeadSays expected;
    };
    const FieldText stored(kStored);
    for (const Case& c : {Case{"ETag: \"abc\"\nContent-Length: 5", 200, HeadSays::update}, Case{"A: b", 200, HeadSays::update},
                          Case{"ETag: \"x\"", 200, HeadSays::outdated}, Case{"ETag: W/\"abc\"", 200, HeadSays::outdated},
                          Case{"Content-Length: 6", 200, HeadSays::outdated},
                          Case{"Last-Modified: Sun, 06 Nov 1994 08:49:38 GMT", 200, HeadSays::outdated},
                          Case{"A: b", 410, HeadSays::nothing}, Case{"A: b", 304, HeadSays::nothing}}) {
        CAPTURE(c.lines);
        const FieldText received(c.lines);
        CHECK(judge_head({c.status, received.fields, 200, 5}, find_validators(stored.fields, kNow), kNow) == c.expected);
    }
}
