package muc
import ("testing";"math/rand/v2";"os";"strconv";"fmt")
func TestSoak(t *testing.T){
 n,_:=strconv.Atoi(os.Getenv("SOAK")); from,_:=strconv.Atoi(os.Getenv("FROM"))
 for i:=from;i<from+n;i++{
  random := rand.NewChaCha8([32]byte{byte(i),byte(i>>8),byte(i>>16),1})
  b:=make([]byte,1000); random.Read(b)
  if !t.Run(fmt.Sprint(i),func(t *testing.T){runScript(t,&script{rest:b})}) {return}
 }
}
