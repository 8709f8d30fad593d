#!/usr/bin/env bash
# A Slurm cluster of two nodes on this machine, for the tests marked slurm:  two_node_slurm.sh start|stop FOLDER
# Needs root and Debian's slurm-wlm and munge (apt-get install -y slurm-wlm munge). Then:
#   export SLURM_CONF=FOLDER/slurm.conf; python -m pytest -m slurm
set -euo pipefail
what=${1:?start or stop} folder=${2:?FOLDER}
export SLURM_CONF="$folder/slurm.conf"

configuration() {
    cat <<END
ClusterName=tests
SlurmctldHost=$(hostname)(127.0.0.1)
SlurmctldPort=16817
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
KillWait=5
StateSaveLocation=$folder/state
SlurmctldPidFile=$folder/slurmctld.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdSpoolDir=$folder/spool-%n
SlurmdPidFile=$folder/slurmd-%n.pid
SlurmdLogFile=$folder/slurmd-%n.log
NodeName=n[1-2] NodeHostname=$(hostname) NodeAddr=127.0.0.1 Port=[17001-17002] CPUs=2 RealMemory=4000
PartitionName=main Nodes=ALL Default=YES MaxTime=120 State=UP
END
}

case $what in
start)
    mkdir -p "$folder"/state "$folder"/spool-n1 "$folder"/spool-n2 /run/munge
    [ -f /etc/munge/munge.key ] || mungekey
    chown munge:munge /run/munge
    pgrep -x munged >/dev/null || runuser -u munge -- munged
    configuration >"$SLURM_CONF"
    slurmctld -c
    slurmd -N n1
    slurmd -N n2
    for _ in $(seq 30); do
        [ "$(sinfo -h -N -t idle | wc -l)" = 2 ] && exit 0
        sleep 1
    done
    echo "the nodes do not get ready, see $folder/*.log" >&2
    exit 1
    ;;
stop) scontrol shutdown ;;
*) echo "start or stop, got $what" >&2; exit 2 ;;
esac
