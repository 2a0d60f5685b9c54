#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "l4echo/http_request.h"

namespace pollux::app {
namespace {

struct Case {
  const char* name;
  std::string_view head;
  unsigned status;
  bool keep_alive;
  bool send_body;
  std::uint64_t body_size;
};

class HttpRequest : public testing::TestWithParam<Case> {};

TEST_P(HttpRequest, IsAnsweredAsStated) {
  const Case& c = GetParam();
  const HttpAnswer answer = read_http_request(c.head, 4096);
  EXPECT_EQ(answer.status, c.status);
  EXPECT_EQ(answer.keep_alive, c.keep_alive);
  EXPECT_EQ(answer.send_body, c.send_body);
  EXPECT_EQ(answer.body_size, c.body_size);
}

constexpr std::string_view with_nul("GET /1 HTTP/1.1\r\nHost: a\0b\r\n\r\n", 30);

const Case cases[] = {
    {"Default", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", 200, true, true, 4096},
    {"Size", "GET /1048576 HTTP/1.1\r\nHost: a\r\n\r\n", 200, true, true, 1048576},
    {"Zero", "GET /0 HTTP/1.1\r\nHost: a\r\n\r\n", 200, true, true, 0},
    {"Largest", "GET /1099511627776 HTTP/1.1\r\nHost: a\r\n\r\n", 200, true, true, http_body_size_max},
    {"TooLarge", "GET /1099511627777 HTTP/1.1\r\nHost: a\r\n\r\n", 404, true, true, 0},
    {"OverflowsTheNumber", "GET /99999999999999999999 HTTP/1.1\r\nHost: a\r\n\r\n", 404, true, true, 0},
    {"Query", "GET /10?x=/y HTTP/1.1\r\nHost: a\r\n\r\n", 200, true, true, 10},
    {"AbsoluteForm", "GET http://a:80/11 HTTP/1.1\r\nHost: a\r\n\r\n", 200, true, true, 11},
    {"AbsoluteFormWithoutPath", "GET HTTP://a HTTP/1.1\r\nHost: a\r\n\r\n", 200, true, true, 4096},
    {"Head", "HEAD /7 HTTP/1.1\r\nHost: a\r\n\r\n", 200, true, false, 7},
    {"EmptyLinesBefore", "\r\n\r\nGET /7 HTTP/1.1\r\nHost: a\r\n\r\n", 200, true, true, 7},
    {"Close", "GET /7 HTTP/1.1\r\nHost: a\r\nConnection: Close\r\n\r\n", 200, false, true, 7},
    {"CloseInAList", "GET /7 HTTP/1.1\r\nHost: a\r\nConnection: upgrade , close\r\n\r\n", 200, false, true,
     7},
    {"Http10", "GET /7 HTTP/1.0\r\n\r\n", 200, false, true, 7},
    {"Http10KeepAlive", "GET /7 HTTP/1.0\r\nconnection:Keep-Alive\r\n\r\n", 200, true, true, 7},
    {"RequestBodyEndsTheConnection", "GET /7 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n", 200, false,
     true, 7},
    {"EmptyRequestBody", "GET /7 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", 200, true, true, 7},
    {"ChunkedRequestBody", "GET /7 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", 200, false,
     true, 7},
    {"NotANumber", "GET /index.html HTTP/1.1\r\nHost: a\r\n\r\n", 404, true, true, 0},
    {"Negative", "GET /-1 HTTP/1.1\r\nHost: a\r\n\r\n", 404, true, true, 0},
    {"Post", "POST /7 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n", 405, false, true, 0},
    {"Options", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 405, true, true, 0},
    {"Http2", "GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505, false, true, 0},
    {"NoHost", "GET / HTTP/1.1\r\n\r\n", 400, false, true, 0},
    {"TwoHosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, false, true, 0},
    {"NoVersion", "GET /\r\n\r\n", 400, false, true, 0},
    {"ExtraWord", "GET / / HTTP/1.1\r\nHost: a\r\n\r\n", 400, false, true, 0},
    {"NoTarget", "GET HTTP/1.1\r\nHost: a\r\n\r\n", 400, false, true, 0},
    {"RelativeTarget", "GET 7 HTTP/1.1\r\nHost: a\r\n\r\n", 400, false, true, 0},
    {"BadMethod", "G(T / HTTP/1.1\r\nHost: a\r\n\r\n", 400, false, true, 0},
    {"NoColon", "GET / HTTP/1.1\r\nHost: a\r\nfield\r\n\r\n", 400, false, true, 0},
    {"BlankBeforeColon", "GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400, false, true, 0},
    {"FoldedLine", "GET / HTTP/1.1\r\nHost: a\r\n folded: b\r\n\r\n", 400, false, true, 0},
    {"BareCarriageReturn", "GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n", 400, false, true, 0},
    {"Nul", with_nul, 400, false, true, 0},
    {"BadLength", "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\n", 400, false, true, 0},
    {"TwoLengths", "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n", 400, false,
     true, 0},
    {"Empty", "\r\n\r\n", 400, false, true, 0},
};

INSTANTIATE_TEST_SUITE_P(Table, HttpRequest, testing::ValuesIn(cases),
                         [](const auto& p) { return std::string(p.param.name); });

}  // namespace
}  // namespace pollux::app
