/** What differs between the systems on which mint-ssh runs. `unix.ts` and `windows.ts` implement it. */

/** What `spawn` takes. */
export interface ProgramCall {
  readonly file: string;
  readonly words: readonly string[];
}

export interface System {
  /** For the forms of paths and words that are written for a system: a test may ask for another system's. */
  readonly name: NodeJS.Platform;
  /** Of the executable in `dist`. */
  readonly programName: string;
  /** The variable with the user's home directory. */
  readonly homeVariable: 'HOME' | 'USERPROFILE';
  /** A directory for temporary files that leaves room for the path of a socket; undefined if length does not matter. */
  readonly shortTemporaryDirectory: string | undefined;
  /** The variables, in capitals, that the agent needs in order to find its files and programs and to write times. */
  readonly agentVariables: readonly string[];
  /** The form of an absolute path, or one in the home directory, in ssh.toml. */
  readonly pathForm: RegExp;

  /** Our sockets are named pipes: no files, so they have no mode and no owner. */
  readonly hasPipes: boolean;
  /** A user other than this one may have access by mode or owner, which `lstat` then shows. */
  readonly hasModes: boolean;
  /** A file that a program has open can be replaced by `rename`. */
  readonly canReplaceOpenFiles: boolean;
  /** proc(5). */
  readonly hasProc: boolean;
  /** ssh has ControlMaster. */
  readonly hasSharedConnections: boolean;
  /** ssh finds its config by the passwd entry, and `$HOME` may name another directory. */
  readonly hasPasswd: boolean;
  /** What starts a program at login; undefined if mint-ssh does not know it. */
  readonly loginService: 'systemd' | 'launchd' | undefined;

  /** The terminal is a console, which is read and written through devices of its own. */
  readonly hasConsole: boolean;
  /** The controlling terminal as a file; undefined if it is not a file. */
  readonly terminal: string | undefined;
  /** How often a terminal is polled while a user is asked: each time `isInForeground` is called. */
  readonly terminalPollMs: number;

  /** What `ssh -V` begins with if ssh can reach the agent's sockets. */
  readonly sshVersionPrefix: string;
  readonly installSshHint: string;
  readonly newerSshHint: string;

  /**
   * Whether two names of variables that the system takes for one have one form.
   * @returns the name in that form
   */
  variableName(name: string): string;
  /**
   * How to start another process of ours.
   * @param keepsEnvironment what a shell in between adds to the environment is not removed, because the caller's may be
   *   among it
   */
  start(program: string, words: readonly string[], keepsEnvironment: boolean): ProgramCall;
  /** @returns what `process.kill` takes to end a process and those that it has started */
  processGroup(leader: number): number;
  /**
   * True in the terminal's foreground process group: a background job that touches its terminal is stopped by it for
   * ever (`ssh dev &`).
   */
  isInForeground(): boolean;
  /**
   * Does what a terminal does on Ctrl-C where it is not in raw mode: sends SIGINT to its foreground processes, such as ssh
   * and the proxy that asks. Called in the foreground only. Without a handler, this process ends here.
   */
  interruptForeground(): void;
  /**
   * @returns whether what is written to an open descriptor is lost
   * @throws the system's error if it is not open
   */
  isNullDevice(descriptor: number): boolean;
  /**
   * Closes descriptor 1 or 2, which libuv never closes, and opens something harmless in its place, so that no later file
   * takes its number.
   * @returns false if that does not close it for the other side
   */
  closeStandardOutput(descriptor: 1 | 2): boolean;
}
