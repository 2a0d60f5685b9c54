#include "l4echo/chargen.h"

#include "common/pattern.h"
#include "l4echo/echo.h"

namespace pollux::app {

void TcpChargen::generate(TcpConn conn) noexcept {
  std::uint64_t position = conn.user_data();
  SendResult sent{};
  do {  // ends with the send buffer, at the latest
    sent = conn.send(pattern_at(position, pattern_chunk_min));
    position = (position + sent.accepted) % pattern_cycle;
  } while (sent.status == SendStatus::ok);
  conn.set_user_data(position);
  if (sent.status == SendStatus::no_memory) retry_.add(conn);
}

void UdpChargen::on_datagrams(UdpSocket socket, std::span<Datagram> datagrams) noexcept {
  for (const Datagram& d : datagrams)  // RFC 864: between 0 and 512 characters
    if (!is_small_service(d.remote.port)) socket.send_to(d.remote, pattern_at(0, pattern_line), d.local);
}

}  // namespace pollux::app
