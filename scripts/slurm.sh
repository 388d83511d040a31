#!/usr/bin/env bash
# A training job that outlives its time limit: SLURM sends SIGUSR1 two minutes before the end, dltrain saves and ends
# with 138, and the job queues itself again; `resume=auto` then goes on with the run of this very command.
#   sbatch scripts/slurm.sh experiment=digits_mlp trainer.epochs=1000
#SBATCH --time=01:00:00
#SBATCH --signal=B:USR1@120
#SBATCH --requeue
#SBATCH --open-mode=append
dltrain "$@" resume=auto &
child=$!
trap 'kill -USR1 $child' USR1
code=0
wait $child || code=$?
# A trap ends `wait` early: wait for the process itself.
while kill -0 $child 2>/dev/null; do
    code=0
    wait $child || code=$?
done
[ "$code" -eq 138 ] && scontrol requeue "$SLURM_JOB_ID"
exit "$code"
