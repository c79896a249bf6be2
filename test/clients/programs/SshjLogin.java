import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.File;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.Socket;
import java.net.SocketAddress;
import java.net.StandardProtocolFamily;
import java.net.UnixDomainSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.Channels;
import java.nio.channels.SocketChannel;
import javax.net.SocketFactory;
import net.schmizz.sshj.SSHClient;
import net.schmizz.sshj.common.Buffer;
import net.schmizz.sshj.common.SSHPacket;
import net.schmizz.sshj.connection.channel.direct.Session;
import net.schmizz.sshj.transport.verification.OpenSSHKnownHosts;
import net.schmizz.sshj.transport.verification.PromiscuousVerifier;
import net.schmizz.sshj.userauth.UserAuthException;
import net.schmizz.sshj.userauth.method.AbstractAuthMethod;

/**
 * SshjLogin.java VM USER KNOWN_HOSTS PROXY_COMMAND COMMAND, with SSH_AUTH_SOCK. sshj has neither an agent nor a ProxyCommand
 * of its own: programs that use it, such as JetBrains' editors, add both as here.
 */
public class SshjLogin {
  public static void main(String[] words) throws Exception {
    SSHClient client = new SSHClient();
    // It reads the file before it connects, and the first connection is what fills it.
    File knownHosts = new File(words[2]);
    client.addHostKeyVerifier(
        knownHosts.length() > 0 ? new OpenSSHKnownHosts(knownHosts) : new PromiscuousVerifier());
    client.setSocketFactory(new CommandSockets(words[3]));
    client.connect(words[0], 22);
    client.auth(words[1], new AgentMethod());
    Session session = client.startSession();
    System.out.write(session.exec(words[4]).getInputStream().readAllBytes());
    System.out.flush();
    client.disconnect();
  }

  /** publickey with the first key of the agent: RFC 4252, 7, and the requests 11 and 13 of the agent protocol. */
  private static final class AgentMethod extends AbstractAuthMethod {
    AgentMethod() {
      super("publickey");
    }

    @Override
    protected SSHPacket buildReq() throws UserAuthException {
      try {
        byte[] key = firstKey();
        String type = new Buffer.PlainBuffer(key).readString();
        SSHPacket request = super.buildReq().putBoolean(true).putString(type).putString(key);
        byte[] signed =
            new Buffer.PlainBuffer()
                .putString(params.getTransport().getSessionID())
                .putBuffer(request)
                .getCompactData();
        Buffer.PlainBuffer sign = new Buffer.PlainBuffer();
        sign.putByte((byte) 13).putString(key).putString(signed).putUInt32(0);
        Buffer.PlainBuffer reply = ask(sign);
        if (reply.readByte() != 14) throw new IOException("the agent refused to sign");
        return request.putString(reply.readStringAsBytes());
      } catch (Exception error) {
        throw new UserAuthException("agent", error);
      }
    }

    private static byte[] firstKey() throws Exception {
      Buffer.PlainBuffer reply = ask(new Buffer.PlainBuffer().putByte((byte) 11));
      if (reply.readByte() != 12 || reply.readUInt32() == 0) throw new IOException("the agent has no key");
      return reply.readStringAsBytes();
    }

    private static Buffer.PlainBuffer ask(Buffer<?> message) throws Exception {
      SocketAddress socket = UnixDomainSocketAddress.of(System.getenv("SSH_AUTH_SOCK"));
      try (SocketChannel channel = SocketChannel.open(StandardProtocolFamily.UNIX)) {
        channel.connect(socket);
        byte[] bytes = message.getCompactData();
        ByteBuffer framed = ByteBuffer.allocate(4 + bytes.length).putInt(bytes.length).put(bytes).flip();
        while (framed.hasRemaining()) channel.write(framed);
        DataInputStream input = new DataInputStream(Channels.newInputStream(channel));
        return new Buffer.PlainBuffer(input.readNBytes(input.readInt()));
      }
    }
  }

  /** Sockets that are the stdin and stdout of a command. */
  private static final class CommandSockets extends SocketFactory {
    private final String command;

    CommandSockets(String command) {
      this.command = command;
    }

    @Override
    public Socket createSocket() throws IOException {
      ProcessBuilder builder = new ProcessBuilder("sh", "-c", "exec " + command);
      Process process = builder.redirectError(ProcessBuilder.Redirect.INHERIT).start();
      return new Socket() {
        @Override
        public void connect(SocketAddress address, int timeout) {}

        @Override
        public boolean isConnected() {
          return true;
        }

        /** For known_hosts, which has the name without a port. */
        @Override
        public int getPort() {
          return 22;
        }

        @Override
        public void setSoTimeout(int milliseconds) {}

        @Override
        public InputStream getInputStream() {
          return process.getInputStream();
        }

        @Override
        public OutputStream getOutputStream() {
          return process.getOutputStream();
        }

        @Override
        public void close() {
          process.destroy();
        }
      };
    }

    @Override
    public Socket createSocket(String host, int port) throws IOException {
      return createSocket();
    }

    @Override
    public Socket createSocket(String host, int port, InetAddress local, int localPort) throws IOException {
      return createSocket();
    }

    @Override
    public Socket createSocket(InetAddress host, int port) throws IOException {
      return createSocket();
    }

    @Override
    public Socket createSocket(InetAddress host, int port, InetAddress local, int localPort) throws IOException {
      return createSocket();
    }
  }
}
