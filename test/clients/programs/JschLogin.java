import com.jcraft.jsch.AgentIdentityRepository;
import com.jcraft.jsch.ChannelExec;
import com.jcraft.jsch.JSch;
import com.jcraft.jsch.Proxy;
import com.jcraft.jsch.Session;
import com.jcraft.jsch.SocketFactory;
import com.jcraft.jsch.SSHAgentConnector;
import java.io.File;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.Socket;
import java.nio.file.Path;

/** JschLogin.java VM USER KNOWN_HOSTS PROXY_COMMAND COMMAND, with SSH_AUTH_SOCK: as an IDE or a build tool does. */
public class JschLogin {
  public static void main(String[] words) throws Exception {
    JSch jsch = new JSch();
    Path socket = Path.of(System.getenv("SSH_AUTH_SOCK"));
    jsch.setIdentityRepository(new AgentIdentityRepository(new SSHAgentConnector(socket)));
    Session session = jsch.getSession(words[1], words[0]);
    session.setProxy(new CommandProxy(words[3]));
    session.setHostKeyAlias(words[0]);
    // It reads the file before it connects, and the first connection is what fills it.
    boolean isKnown = new File(words[2]).length() > 0;
    if (isKnown) jsch.setKnownHosts(words[2]);
    session.setConfig("StrictHostKeyChecking", isKnown ? "yes" : "no");
    session.connect();
    ChannelExec channel = (ChannelExec) session.openChannel("exec");
    channel.setCommand(words[4]);
    InputStream output = channel.getInputStream();
    channel.connect();
    System.out.write(output.readAllBytes());
    System.out.flush();
    session.disconnect();
  }

  /** JSch has ways through HTTP and SOCKS proxies, and an interface for any other. */
  private static final class CommandProxy implements Proxy {
    private final String command;
    private Process process;

    CommandProxy(String command) {
      this.command = command;
    }

    public void connect(SocketFactory factory, String host, int port, int timeout) throws Exception {
      ProcessBuilder builder = new ProcessBuilder("sh", "-c", command);
      process = builder.redirectError(ProcessBuilder.Redirect.INHERIT).start();
    }

    public InputStream getInputStream() {
      return process.getInputStream();
    }

    public OutputStream getOutputStream() {
      return process.getOutputStream();
    }

    public Socket getSocket() {
      return null;
    }

    public void close() {
      process.destroy();
    }
  }
}
