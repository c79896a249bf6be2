/**
 * Strangers before the agent's sockets, for as long as you like: `node test/bench/flood.ts [ROUNDS]`, ten
 * thousand a round. Shows after each what the agent holds: it has to level off.
 */
import { descriptors, megabytes } from '../agent/memory.ts';
import { stranger } from '../agent/strangers.ts';
import { makeWorld, mintProgram } from '../openssh/world.ts';

const rounds = Number(process.argv[2] ?? 5);
const world = await makeWorld();
const show = (what: string) => {
  const pid = world.agents()[0]?.pid ?? 0;
  process.stdout.write(`${what}: ${megabytes(pid).toFixed(1)} MB private, ${descriptors(pid)} descriptors\n`);
};
try {
  const agent = world.start(mintProgram, ['agent'], { timeout: 3_600_000 });
  await agent.until(/listens/);
  show('at rest');
  await world.ssh('dev', 'true');
  show('after a login');
  for (let round = 1; round <= rounds; round += 1) {
    const startedAt = performance.now();
    for (let batch = 0; batch < 100; batch += 1) {
      const crowd = await Promise.all(
        Array.from({ length: 100 }, (_, index) => stranger(world, batch * 100 + index)),
      );
      for (const socket of crowd) socket.destroy();
    }
    const { status } = await world.ssh('dev', 'true');
    show(
      `round ${round}, ${Math.round(performance.now() - startedAt)} ms, a login: ${status === 0 ? 'yes' : 'no'}`,
    );
  }
} finally {
  await world.end();
}
